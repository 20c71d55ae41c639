"""The example of docs/serve.md, in an environment that has the packages it names and nothing else."""

import json
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from marsbench.data.audio import load
from marsbench.deployment.formats.onnx import end_to_end, pipeline_probabilities
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Examples, FitContext, Model
from marsbench.plugin.onnx import Graph
from marsbench.plugin.search_space import Defaults, HyperParameters
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.mfcc_chroma_contrast import MfccChromaContrast
from marsbench_plugins.models.logistic_regression import LogisticRegression
from marsbench_plugins.models.svm import Svm

onnx: Any = pytest.importorskip("onnx", reason="onnx, of the extra export, is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra export, is not installed")

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs" / "serve.md").read_text("utf-8")
SCRIPT = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)[-1]
RATE = 22_050
LABELS = ["low", "höher", "high"]
STRANGERS = ["librosa", "marsbench", "onnx", "pip", "scipy", "sklearn", "tensorflow"]
PACKAGES = re.findall(r"^pip install (\S.*?) +#", DOCS, flags=re.MULTILINE)[0].split()

Served = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module", params=["links", pytest.param("pip", marks=pytest.mark.slow)])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Python of a bare environment: of links to what is installed here, or as pip makes it."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    if request.param == "links":
        command = [sys.executable, str(ROOT / "benchmarks" / "bare_environment.py"), str(folder), *PACKAGES]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    venv.create(folder, symlinks=True, with_pip=True)
    install = ["-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), *PACKAGES]
    found = str(folder / "bin" / "python")
    subprocess.run([found, *install], check=True)
    subprocess.run([found, "-m", "pip", "uninstall", "-q", "-y", "pip"], check=True)
    return found


def serve(python: str, *words: str) -> Served:
    """What the script says; -I keeps PYTHONPATH out, by which the tests may find marsbench."""
    Path("serve.py").write_text(SCRIPT, "utf-8")
    command = [python, "-I", "-X", "utf8", "serve.py", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")


def answers(served: Served) -> dict[str, float]:
    """Printed probability by label, in the order of the lines."""
    assert served.returncode == 0, served.stderr
    assert not served.stderr
    return {label: float(value) for label, value in map(str.split, served.stdout.splitlines())}


@dataclass
class TinyNet(KerasModel):
    """A convolution over time."""

    epochs: int = 2
    patience: int = 0

    def build(self, _: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        keras = import_keras()
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input(input_shape),
                layers.Conv1D(4, 3, activation="relu"),
                layers.GlobalAveragePooling1D(),
                layers.Dense(n_classes, activation="softmax"),
            ]
        )


def tone(number: int) -> Floats:
    """Of one of three pitches and loudnesses that overlap, in noise; each of its own length."""
    random = np.random.default_rng(number)
    seconds = np.arange(random.integers(RATE, 3 * RATE)) / RATE
    pitch = (200, 250, 300)[number % 3] * random.uniform(0.7, 1.4)
    samples = (0.1 + number % 3 * 0.05) * np.sin(2 * np.pi * pitch * seconds)
    return (samples + random.normal(0, 0.05, len(seconds))).astype(np.float32)


def fitted(extractor: FeatureExtractor, model: Model) -> Model:
    clips = [extractor.extract(tone(number), RATE) for number in range(30)]
    features = for_model(clips, model.accepts, extractor.n_frames)
    return model.fit(Examples(features, np.arange(30) % 3), Defaults({}), FitContext(3, 0))


def test_the_environment_has_nothing_else(python: str) -> None:
    program = f"from importlib.util import find_spec; print(*filter(find_spec, {[*STRANGERS, 'numpy']}))"
    done = subprocess.run([python, "-I", "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["numpy"]


def test_the_example_is_short() -> None:
    assert len([line for line in SCRIPT.splitlines() if line]) <= 25


@pytest.mark.parametrize(
    ("extractor", "model"),
    [
        (Functionals(), Svm()),
        (MfccChromaContrast(), LogisticRegression()),
        pytest.param(MfccChromaContrast(), TinyNet(), marks=pytest.mark.slow),
    ],
    ids=lambda plugin: plugin.name,
)
def test_it_prints_what_the_pipeline_answers(python: str, extractor: FeatureExtractor, model: Model) -> None:
    pytest.importorskip("skl2onnx", reason="skl2onnx, of the extra export, is not installed")
    pytest.importorskip("tf2onnx", reason="tf2onnx, of the extra export, is not installed")
    onnx.save(end_to_end(extractor, fitted(extractor, model), LABELS), "pipeline.onnx")
    for number in range(30, 32):
        soundfile.write("clip.wav", tone(number), RATE, subtype="PCM_16")
        wanted = pipeline_probabilities(extractor, model, load(Path("clip.wav"), RATE).samples)
        printed = answers(serve(python, "pipeline.onnx", "clip.wav"))
        assert list(printed) == [LABELS[place] for place in np.argsort(-wanted)]
        np.testing.assert_allclose([printed[label] for label in LABELS], wanted, atol=1e-3)


@pytest.fixture
def clip() -> Floats:
    """Samples of three channels, (810, 3): 0.101 s at 8 kHz, full scale included."""
    samples = np.random.default_rng(0).uniform(-1, 1, (810, 3))
    samples[:2] = [[-1], [1]]
    return samples.astype(np.float32)


@pytest.fixture
def scope(clip: Floats) -> str:
    """A file whose probabilities are the samples that it is given, times 2^31."""
    graph = Graph("scope")
    samples = graph.input("waveform", np.float32, ["n_samples"])
    graph.output("probabilities", samples * 2.0**31, ["n_samples"])
    model = graph.model()
    facts = {"labels": json.dumps([str(place) for place in range(len(clip))]), "sample_rate": "8000"}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, "scope.onnx")
    return "scope.onnx"


@pytest.mark.parametrize(
    ("subtype", "n_channels", "rate"),
    [
        ("PCM_U8", 1, 8000), ("PCM_16", 3, 8000), ("PCM_24", 2, 8000), ("FLOAT", 1, 8000),
        ("DOUBLE", 2, 8000),
        ("PCM_16", 1, 16_000), ("PCM_16", 2, 48_000), ("FLOAT", 2, 4000),
    ],
)  # fmt: skip
def test_it_hears_the_samples_that_marsbench_does(
    python: str, scope: str, clip: Floats, subtype: str, n_channels: int, rate: int
) -> None:
    whole = np.concatenate([clip] * max(1, rate // 8000))
    soundfile.write("clip.wav", whole[:, :n_channels], rate, subtype=subtype)
    printed = answers(serve(python, scope, "clip.wav"))
    assert list(printed.values()) == sorted(printed.values(), reverse=True)
    wanted = load(Path("clip.wav"), 8000).samples[: len(clip)]
    heard = np.array([printed[str(place)] for place in range(len(wanted))]) / 2**31
    np.testing.assert_allclose(heard, wanted, atol=1e-6)


@pytest.fixture
def bad_clips(clip: Floats) -> None:
    soundfile.write("short.wav", clip[:799], 8000)
    soundfile.write("silent.wav", 0 * clip, 8000)
    soundfile.write("nan.wav", np.nan * clip, 8000, subtype="FLOAT")
    Path("text.wav").write_text("I am no audio")
    Path("empty.wav").touch()


@pytest.mark.usefixtures("bad_clips")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scope.onnx", "text.wav"], "text.wav: .*Format not recognised"),
        (["scope.onnx", "empty.wav"], "empty.wav: "),
        (["scope.onnx", "gone.wav"], "gone.wav: "),
        (["scope.onnx", "short.wav"], r"short\.wav is silent, shorter than 0\.1 s"),
        (["scope.onnx", "silent.wav"], r"silent\.wav is silent"),
        (["scope.onnx", "nan.wav"], r"nan\.wav is .* no finite numbers"),
        (["gone.onnx", "short.wav"], r"gone\.onnx: "),
        (["scope.onnx"], "usage: python serve.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("scope")
def test_what_it_cannot_serve_is_one_line(python: str, words: list[str], message: str) -> None:
    served = serve(python, *words)
    assert (served.returncode, served.stdout, served.stderr.count("\n")) == (1, "", 1)
    assert re.search(message, served.stderr)
