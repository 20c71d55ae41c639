"""Whole pipelines on real audio; each prints how far its file is from it and how fast it is."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.data.audio import load
from marsbench.deployment.formats.onnx import TOLERANCE, end_to_end
from marsbench.plugin.features import FeatureExtractor, Floats, pad
from marsbench.plugin.model import Examples, FitContext, Model
from marsbench.plugin.search_space import Defaults
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.log_mel import LogMel
from marsbench_plugins.features.mfcc_chroma_contrast import MfccChromaContrast
from marsbench_plugins.models.cnn2d import Cnn2d
from marsbench_plugins.models.cnn_lstm import CnnLstm
from marsbench_plugins.models.svm import Svm

pytest.importorskip("skl2onnx", reason="skl2onnx, of the extra export, is not installed")
runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra export, is not installed")

RATE = 22_050
N_ASKED, N_TRAINED_ON = 200, 600
PIPELINES: list[tuple[FeatureExtractor, Model]] = [
    (Functionals(), Svm()),
    (MfccChromaContrast(), Svm()),
    (MfccChromaContrast(), CnnLstm(epochs=5, patience=0)),
    (LogMel(), Cnn2d(epochs=3, patience=0)),
]


@pytest.fixture(scope="module")
def clips() -> list[tuple[Floats, int]]:
    """Waveform and emotion of clips drawn at random."""
    if "MARSBENCH_RAVDESS" not in os.environ:
        pytest.skip("MARSBENCH_RAVDESS names no folder with RAVDESS")
    files = sorted(Path(os.environ["MARSBENCH_RAVDESS"]).rglob("0*.flac"))
    drawn = np.random.default_rng(0).permutation(len(files))[: N_ASKED + N_TRAINED_ON]
    return [(load(files[row], RATE).samples, int(files[row].stem.split("-")[2]) - 1) for row in drawn]


def answers(file: bytes, waveforms: list[Floats]) -> tuple[Floats, float]:
    """Probabilities, and seconds of one core for each second of sound."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    start = time.process_time()
    rows = [session.run(["probabilities"], {"waveform": waveform})[0] for waveform in waveforms]
    return np.stack(rows), (time.process_time() - start) / sum(map(len, waveforms)) * RATE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extractor", "model"),
    PIPELINES,
    ids=[f"{extractor.name}-{model.name}" for extractor, model in PIPELINES],
)
def test_a_file_answers_what_its_pipeline_does(
    extractor: FeatureExtractor, model: Model, clips: list[tuple[Floats, int]]
) -> None:
    waveforms, targets = [waveform for waveform, _ in clips], np.array([target for _, target in clips])
    features = pad([extractor.extract(waveform, RATE) for waveform in waveforms], extractor.n_frames)
    features = features.pooled() if model.accepts == "vector" else features
    rows = np.arange(len(clips))
    train, asked = rows[N_ASKED:], rows[:N_ASKED]
    model.fit(Examples(features[train], targets[train]), Defaults({}), FitContext(8, 0))
    wanted = model.predict_proba(features[asked])
    file = end_to_end(extractor, model, [str(number) for number in range(8)]).SerializeToString()
    given, real_time_factor = answers(file, waveforms[:N_ASKED])
    away = abs(given - wanted).max()
    print(f"{away:.1e} away, real-time factor {real_time_factor:.4f}, {len(file) / 1e6:.1f} MB")  # noqa: T201
    np.testing.assert_array_equal(given.argmax(axis=1), wanted.argmax(axis=1))
    assert away <= TOLERANCE
