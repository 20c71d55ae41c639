"""One clip, four ways to its probabilities: cross-validation, `bench predict`, the page, the ONNX file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.app.inference import predict_bytes
from marsbench.data.audio import load
from marsbench.deployment.bundle_files import read_bundle
from marsbench.plugin.registry import discover
from marsbench.results.predictions import read_predictions
from marsbench.results.store import find_runs

runtime: Any = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
pytest.importorskip("skl2onnx", reason="the extra 'export' is not installed")

Bench = Callable[..., Any]
SMALL = ("--set", "demo.n_speakers=1", "--set", "demo.n_takes=5", "--protocol", "holdout80", "--trials", "0")
VECTORS = "svm,logistic_regression,random_forest,pca_lda,majority"
NETWORKS = "cnn_lstm,cnn2d,res_lstm,res_cnn2d,conformer"
SHORT = tuple(word for name in NETWORKS.split(",") for word in ("--set", f"{name}.epochs=1"))


@pytest.fixture(autouse=True, scope="module")
def tf2onnx() -> None:
    """It imports TensorFlow: not while tests are collected."""
    pytest.importorskip("tf2onnx", reason="the extra 'export' is not installed")


@pytest.mark.parametrize(
    ("features", "models", "further"),
    [
        ("functionals", "svm,majority", ()),
        ("mfcc", "pca_lda", ()),
        pytest.param("log_mel", "svm", (), marks=pytest.mark.slow),
        ("mfcc_chroma_contrast", "logistic_regression,cnn_lstm", SHORT[:2]),
        pytest.param("functionals", VECTORS, (), marks=pytest.mark.slow),
        *(
            pytest.param(features, f"{VECTORS},{NETWORKS}", SHORT, marks=pytest.mark.slow)
            for features in ("mfcc_chroma_contrast", "mfcc", "log_mel")
        ),
    ],
)
def test_a_clip_has_the_same_probabilities_by_every_way(
    bench: Bench, home: Path, features: str, models: str, further: tuple[str, ...]
) -> None:
    result = bench("run", "--features", features, "--model", models, *SMALL, *further)
    assert result.exit_code == 0, result.stderr
    runs = list(find_runs(Path("results")))
    assert len(runs) == models.count(",") + 1
    for run in runs:
        tested = read_predictions(run, run.read_run())
        files = [next(home.glob(f"demo/*/{clip}")) for clip in tested.clips]
        recorded = tested.probabilities

        assert bench("export", run.path, "--fold", "1").exit_code == 0
        predicted = json.loads(bench("predict", "bundle", *files, "--json").stdout)
        assert_same([[*row["probabilities"].values()] for row in predicted], recorded, 1e-5, run.path)

        bundle = read_bundle(Path("bundle"), discover(()))
        shown = [predict_bytes(bundle, file.read_bytes()).prediction.probabilities for file in files]
        assert_same(shown, recorded, 1e-5, run.path)

        assert bench("export", "bundle", "--format", "onnx", "--end-to-end").exit_code == 0
        session = runtime.InferenceSession("pipeline.onnx", providers=["CPUExecutionProvider"])
        rate = int(session.get_modelmeta().custom_metadata_map["sample_rate"])
        sounds = [load(file, rate).samples for file in files]
        answers = [session.run(["probabilities"], {"waveform": sound})[0] for sound in sounds]
        assert_same(answers, recorded, 1e-3, run.path)


def assert_same(found: Any, recorded: Any, tolerance: float, run: Path) -> None:
    away = np.abs(np.array(found) - recorded).max()
    assert away < tolerance, f"{run.name}: {away:.1e}"
    assert (np.argmax(found, axis=1) == recorded.argmax(axis=1)).all(), run.name
