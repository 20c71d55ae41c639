"""Formats of models: listed by file name, and a new one is one new file."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment import formats
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import golden_samples, read_bundle, write_bundle
from marsbench.deployment.formats import format_names
from marsbench.deployment.model_format import find_format
from marsbench.errors import ExportError, PluginError
from marsbench.plugin.onnx import Graph, onnx_session
from marsbench.plugin.registry import Registry, discover

ARRAYS = '''
"""Class means as NumPy arrays."""

import numpy as np

from marsbench.deployment.model_format import FileModel, ModelFormat
from marsbench.plugin.model import Model


class ArraysFormat(ModelFormat):
    suffix = ".npz"
    models = (Model,)
    precisions = {"float16": 5e-2}

    def write(self, path, model, kind, quantised):
        np.savez(path, means=model.means_.astype(quantised or "float32"))

    def read(self, path, plugin):
        with np.load(path, allow_pickle=False) as stored:
            means = stored["means"].astype(np.float32)
        return FileModel("vector", lambda features: np.exp(-np.abs(features.values - means.T)))
'''


@pytest.fixture
def arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file in the folder of formats, `arrays.py`; nothing else is told of it."""
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "arrays.py").write_text(ARRAYS)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, "marsbench.deployment.formats.arrays", raising=False)


def test_formats_are_listed_without_importing_them() -> None:
    program = (
        "import sys; from marsbench.deployment.formats import format_names; print(*format_names());"
        "print(*(name for name in sys.modules if 'formats.' in name or name in {'numpy', 'keras', 'onnx'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["plugin keras litert onnx", ""]


def test_a_format_is_found_by_the_name_of_its_file() -> None:
    assert [find_format(name).name for name in format_names()] == list(format_names())


def test_an_unknown_format_is_one_line() -> None:
    with pytest.raises(ExportError, match=r"Unknown format 'onx'\. Did you mean 'onnx'\?"):
        find_format("onx")


@pytest.mark.usefixtures("arrays")
def test_a_new_format_is_one_new_file(
    bundle: Bundle, corpus: CheckedCorpus, registry: Registry, kit: Path, tmp_path: Path
) -> None:
    find_format("arrays").require(registry.get("models", "nearest_mean"))
    record = write_bundle(bundle, Path("bundle"), golden_samples(corpus), "arrays")
    assert (record.form, record.tolerance) == ("arrays", 1e-5)
    assert Path("bundle", "emotion_nearest_mean.npz").is_file()
    without_model = tmp_path / "without_model" / "features"
    without_model.mkdir(parents=True)
    (without_model / "crossings.py").write_bytes((kit / "features" / "crossings.py").read_bytes())
    again = read_bundle(Path("bundle"), discover((without_model.parent,)))
    for clip in corpus.clips[::5]:
        expected = bundle.predict(clip.path).probabilities
        assert again.predict(clip.path).probabilities == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("arrays")
def test_a_new_format_is_an_option_of_the_command(
    bench: Callable[..., Any], bundle: Bundle, corpus: CheckedCorpus, kit: Path
) -> None:
    write_bundle(bundle, Path("bundle"), golden_samples(corpus))
    words = ("--format", "arrays", "--quantise", "float16", "-o", "other", "--plugins", kit)
    result = bench("export", "bundle", *words)
    assert result.exit_code == 0, result.stderr
    assert "Verified on 3 golden clips: probabilities as of the model in memory, to 0.05." in result.stdout
    assert bench("predict", "other", corpus.clips[0].path, "--plugins", kit).exit_code == 0


@pytest.mark.usefixtures("arrays")
def test_a_file_that_is_not_of_its_format_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "emotion_nearest_mean.npz"
    np.savez(path, other=np.zeros(3))
    with pytest.raises(PluginError, match="cannot be read in the format 'arrays': 'means is not a file"):
        find_format("arrays").open(path, lambda: pytest.fail("the plugin is not needed"))


def test_an_onnx_file_that_fails_is_told_once_by_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    graph = Graph("fails")
    clips = graph.input("clips", np.float32, ["n", 4])
    graph.output("probabilities", clips.reshape(7, 7), [7, 7])
    session = onnx_session(graph.model().SerializeToString(), "export")
    with pytest.raises(Exception, match="Reshape"):
        session.run(None, {"clips": np.ones((2, 4), np.float32)})
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.usefixtures("arrays")
def test_a_precision_that_a_format_does_not_have_is_one_line(registry: Registry) -> None:
    message = r"Format 'arrays' cannot be quantised to 'int8'\. Available: float16\."
    with pytest.raises(ExportError, match=message):
        find_format("arrays").require(registry.get("models", "nearest_mean"), "int8")


def test_a_model_that_a_format_does_not_take_is_one_line(registry: Registry) -> None:
    message = r"Model 'nearest_mean' cannot be exported in the format 'onnx'\. Available: plugin\."
    with pytest.raises(ExportError, match=message):
        find_format("onnx").require(registry.get("models", "nearest_mean"))
