"""A model's file compared with the model; each test is skipped where a package of its format is missing."""

import hashlib
import json
import subprocess
import sys
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.data.audio_validation import check_audio
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import golden_samples, read_bundle, write_bundle
from marsbench.deployment.export import fit_bundle
from marsbench.deployment.formats.keras import silence
from marsbench.deployment.model_format import Predictor, find_format
from marsbench.errors import ExportError, PluginError, ResultsError
from marsbench.planning.pipelines import make_pipeline
from marsbench.plugin.base import Dataset
from marsbench.plugin.features import FeatureKind, Features
from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Examples, FitContext, Model
from marsbench.plugin.onnx import Graph
from marsbench.plugin.registry import discover
from marsbench.plugin.search_space import Defaults, HyperParameters

MODULES = {"keras": "keras", "onnx": "onnxruntime", "litert": "ai_edge_litert"}
N_FRAMES, N_DIMS, N_CLASSES = 8, 5, 3


@dataclass
class Small(KerasModel):
    """A convolution and a recurrent layer over frames, or a dense one."""

    accepts: FeatureKind = "frames"  # type: ignore[misc]  # a class's constant; here each test's own
    epochs: int = 3
    patience: int = 0
    name: ClassVar[str] = "small"

    def build(self, _hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        layers = import_keras().layers
        recurrent = [layers.Conv1D(6, 3, activation="relu"), layers.Bidirectional(layers.LSTM(4))]
        first = recurrent if len(input_shape) == 2 else [layers.Dense(6, activation="relu")]
        parts = [import_keras().Input(input_shape), *first, layers.Dense(n_classes, activation="softmax")]
        return import_keras().Sequential(parts)


def clips(kind: FeatureKind) -> Examples:
    """Clips of 1 to N_FRAMES frames, in dimensions far from standard."""
    random = np.random.default_rng(0)
    targets = np.arange(30) % N_CLASSES
    lengths = random.integers(1, N_FRAMES + 1, len(targets))
    values = 2 * np.eye(N_CLASSES, N_DIMS)[targets][:, None] + random.normal(size=(30, N_FRAMES, N_DIMS))
    values = values * [1, 100, 1, 1e-2, 1] + [0, 500, 0, 0, -30]
    values[np.arange(N_FRAMES) >= lengths[:, None]] = 0
    features = Features(values.astype(np.float32), lengths)
    return Examples(features if kind == "frames" else features.pooled(), targets)


def fitted(kind: FeatureKind) -> KerasModel:
    return Small(accepts=kind).fit(clips(kind), Defaults({}), FitContext(N_CLASSES, 0))


@pytest.fixture(scope="module")
def of_frames() -> KerasModel:
    return fitted("frames")


@pytest.fixture(scope="module")
def of_vectors() -> KerasModel:
    return fitted("vector")


@pytest.fixture(params=["of_frames", "of_vectors"])
def model(request: pytest.FixtureRequest) -> KerasModel:
    return cast("KerasModel", request.getfixturevalue(request.param))


def written(model: Model, form: str, folder: Path, quantised: str | None = None) -> Path:
    pytest.importorskip(MODULES[form], reason="an extra of this format is not installed")
    path = folder / f"model{find_format(form).suffix}"
    find_format(form).write(path, model, model.accepts, quantised)
    return path


def opened(form: str, path: Path) -> Predictor:
    """The file's model, opened without its plugin."""
    return find_format(form).open(path, Model)


@pytest.mark.parametrize(("form", "tolerance"), [("keras", 1e-5), ("onnx", 1e-5), ("litert", 1e-4)])
def test_a_file_answers_as_its_model(model: KerasModel, form: str, tolerance: float, tmp_path: Path) -> None:
    features = clips(model.accepts).features
    file = opened(form, written(model, form, tmp_path))
    assert file.accepts == model.accepts
    assert np.abs(file.predict_proba(features) - model.predict_proba(features)).max() < tolerance


@pytest.mark.parametrize(("form", "precision"), [("onnx", "int8"), ("litert", "int8"), ("litert", "float16")])
def test_a_quantised_file_is_near_its_model(
    of_frames: KerasModel, form: str, precision: str, tmp_path: Path
) -> None:
    features = clips("frames").features
    file = opened(form, written(of_frames, form, tmp_path, precision))
    assert 0 < np.abs(file.predict_proba(features) - of_frames.predict_proba(features)).max() < 2e-2


def test_keras_alone_opens_its_file_and_takes_rows_of_zeros_for_padding(
    model: KerasModel, tmp_path: Path
) -> None:
    features = clips(model.accepts).features
    network = import_keras().saving.load_model(written(model, "keras", tmp_path), safe_mode=True)
    assert network.name == "emotion_small"
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"optimizer" not in archive.read("model.weights.h5")
    answer = network(features.values, training=False).numpy()
    assert np.allclose(answer, model.predict_proba(features), atol=1e-5)


def test_a_keras_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    keras = import_keras()
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((N_DIMS,)), keras.layers.Lambda(lambda values: values)]).save(path)
    with pytest.raises(PluginError, match=r"cannot be read in the format 'keras': .*Lambda"):
        opened("keras", path)


@pytest.mark.parametrize("form", MODULES)
@pytest.mark.parametrize("data", [b"", b"I am no model", bytes(4096)])
def test_what_is_no_model_is_one_line(form: str, data: bytes, tmp_path: Path) -> None:
    pytest.importorskip(MODULES[form], reason="an extra of this format is not installed")
    path = tmp_path / f"model{find_format(form).suffix}"
    path.write_bytes(data)
    with pytest.raises(PluginError, match="cannot be read in the format") as caught:
        opened(form, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("nested", [False, True])
def test_a_keras_file_with_a_layer_of_enormous_output_is_refused(tmp_path: Path, nested: bool) -> None:
    keras, path = import_keras(), tmp_path / "model.keras"
    layers = [keras.Input((N_DIMS,)), keras.layers.RepeatVector(10**12), keras.layers.LSTM(2)]
    network = keras.Sequential(layers)
    with silence():
        (keras.Sequential([keras.Input((N_DIMS,)), network]) if nested else network).save(path)
    with pytest.raises(PluginError, match=r"gives values of shape \(None, 1000000000000, 5\)") as refused:
        opened("keras", path)
    assert "\n" not in str(refused.value)


def test_a_keras_file_that_is_no_network_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "os", "class_name": "system", "config": {}}))
        archive.writestr("metadata.json", "{}")
    with pytest.raises(PluginError, match="cannot be read in the format"):
        opened("keras", path)


def graph_of(values: Any, path: Path) -> Path:
    """A file whose answer are the features plus `values`."""
    graph = Graph("sum")
    graph.output("probabilities", graph.input("features", np.float32, [3]) + values, [3])
    path.write_bytes(graph.model().SerializeToString())
    return path


@pytest.mark.parametrize("row", [[np.nan, 0.5, 0.5], [np.inf, 0, 0], [-0.5, 1, 0.5], [0, 0, 0]])
def test_outputs_that_are_not_probabilities_are_refused(row: list[float], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    file = opened("onnx", graph_of([0, 0, 0], tmp_path / "model.onnx"))
    features = Features(np.array([row], np.float32), np.ones(1, np.int64))
    with pytest.raises(PluginError, match="are not probabilities"):
        file.predict_proba(features)


def test_an_onnx_file_reads_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    monkeypatch.chdir(tmp_path)
    model = onnx.load(graph_of([1, 2, 3], tmp_path / "model.onnx"))
    tensor = model.graph.initializer[0]
    Path("secret").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, "secret")
    tensor.ClearField("raw_data")
    Path("model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(PluginError, match="cannot be read in the format"):
        opened("onnx", Path("model.onnx"))


@pytest.mark.parametrize(
    ("form", "quantised", "message"),
    [
        ("keras", "int8", "Format 'keras' cannot be quantised to 'int8'. Available: none"),
        ("onnx", "float16", "Format 'onnx' cannot be quantised to 'float16'. Available: int8"),
    ],
)
def test_a_precision_that_a_form_has_not_is_one_line(
    kit: Path, form: str, quantised: str, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        find_format(form).require(discover((kit,)).get("models", "tiny_net"), quantised)


@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_a_package_that_is_missing_is_asked_for_by_its_extra(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("marsbench.environment.importlib.import_module", missing)
    path = tmp_path / f"model{find_format(form).suffix}"
    path.touch()
    with pytest.raises(ExportError, match=r"is not installed: pip install .*\[(export|litert)\]'"):
        opened(form, path)


@pytest.fixture
def corpus(kit: Path) -> CheckedCorpus:
    dataset = discover((kit,)).get("datasets", "tones").plugin.create({})
    return check_audio(cast("Dataset", dataset).load())


@pytest.fixture
def bundle(kit: Path, corpus: CheckedCorpus) -> Bundle:
    registry = discover((kit,))
    return fit_bundle(corpus, make_pipeline(registry, "blocks", "tiny_net", {}), registry, seed=0)


@pytest.mark.parametrize("form", MODULES)
def test_a_bundle_of_a_file_answers_without_the_models_plugin(
    form: str, bundle: Bundle, corpus: CheckedCorpus, kit: Path, tmp_path: Path
) -> None:
    pytest.importorskip(MODULES[form], reason="an extra of this format is not installed")
    folder = tmp_path / "bundle"
    write_bundle(bundle, folder, golden_samples(corpus), form)
    assert (folder / f"emotion_tiny_net{find_format(form).suffix}").is_file()
    only_features = tmp_path / "plugins" / "features"
    only_features.mkdir(parents=True)
    (only_features / "blocks.py").write_bytes((kit / "features" / "blocks.py").read_bytes())
    again = read_bundle(folder, discover((tmp_path / "plugins",)))
    assert again.record.form == form
    for clip in corpus.clips[::4]:
        wanted = bundle.predict(clip.path).probabilities
        assert np.abs(again.predict(clip.path).probabilities - wanted).max() < again.record.tolerance


def test_a_file_of_another_model_does_not_pass(
    bundle: Bundle, corpus: CheckedCorpus, kit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    write_bundle(bundle, folder, golden_samples(corpus), "keras")
    path = folder / "emotion_tiny_net.keras"
    network = import_keras().saving.load_model(path)
    network.set_weights([1.1 * weights for weights in network.get_weights()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TensorFlow's, of NumPy 2's `copy`
        network.save(path)
    values = json.loads(read_checksummed(folder / "bundle.json"))
    values["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_checksummed(folder / "bundle.json", json.dumps(values))
    with pytest.raises(ResultsError, match=r"is not predicted as at export: .*, 1e-05 is allowed"):
        read_bundle(folder, discover((kit,)))


def test_a_model_outside_the_folder_is_not_opened(
    bundle: Bundle, corpus: CheckedCorpus, kit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    write_bundle(bundle, folder, golden_samples(corpus), "keras")
    values = json.loads(read_checksummed(folder / "bundle.json"))
    values["model"]["name"] = "/../../elsewhere"
    write_checksummed(folder / "bundle.json", json.dumps(values))
    with pytest.raises(ResultsError, match=r"a file that bundle\.json does not list"):
        read_bundle(folder, discover((kit,)))


def test_an_onnx_bundle_predicts_without_importing_what_it_was_trained_with(
    bundle: Bundle, corpus: CheckedCorpus, kit: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    folder = tmp_path / "bundle"
    write_bundle(bundle, folder, golden_samples(corpus), "onnx")
    script = (
        f"import sys, marsbench; bundle = marsbench.load({str(folder)!r}, plugins=[{str(kit)!r}]);"
        f"print(bundle.predict({str(corpus.clips[0].path)!r}).label);"
        "print({'tensorflow', 'sklearn', 'librosa'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [bundle.predict(corpus.clips[0].path).label, "set()", ""]
