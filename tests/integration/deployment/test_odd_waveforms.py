"""Waveforms that no recording of speech is like: the file answers what the pipeline does."""

from typing import Any

import numpy as np
import pytest

from marsbench.deployment.formats.onnx import TOLERANCE, end_to_end, pipeline_probabilities
from marsbench.errors import PluginError
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.model import Examples, FitContext, Model
from marsbench.plugin.search_space import Defaults
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.mfcc_chroma_contrast import MfccChromaContrast
from marsbench_plugins.models.logistic_regression import LogisticRegression

pytest.importorskip("skl2onnx", reason="skl2onnx, of the extra export, is not installed")
runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra export, is not installed")

RATE = 22_050
LABELS = ["a", "b", "c"]


def voice(seconds: float, seed: int) -> Floats:
    """Harmonics of a gliding pitch in noise, peak about 0.5."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (100 + 20 * seed) * time + 3 * np.sin(2 * np.pi * time)
    tone = np.sum([np.sin(k * phase) / k for k in range(1, 10)], axis=0)
    noise = np.random.default_rng(seed).normal(0, 0.1 + seed % 3 * 0.05, len(time))
    samples: Floats = (0.2 * (tone + noise)).astype(np.float32)
    return samples


def impulse(place: int) -> Floats:
    return np.asarray(np.eye(1, 2 * RATE, place)[0], np.float32)


ODD: dict[str, Floats] = {
    "0.1 s": voice(0.1, 7),
    "just below 0.1 s": voice(0.1, 7)[:-1],
    "no samples": np.zeros(0, np.float32),
    "60 s": voice(60, 5),
    "zeros": np.zeros(2 * RATE, np.float32),
    "DC": np.full(2 * RATE, 0.5, np.float32),
    "an impulse": impulse(RATE),
    "an impulse at the start": impulse(0),
    "clipping": np.clip(8 * voice(3, 4), -1, 1),
    "4 times full scale": 8 * voice(3, 4),
    "16-bit integers": 32_768 * voice(3, 4),
    "below the last bit": 1e-6 * voice(3, 4),
    "the last bit": np.random.default_rng(0).integers(-1, 2, 2 * RATE).astype(np.float32)
    / np.float32(32_768),
    "half the sample rate": np.tile(np.array([0.5, -0.5], np.float32), RATE),
}
Exported = tuple[FeatureExtractor, Model, Any]


PENALTIES = [(Functionals(), 3e-5), (MfccChromaContrast(), 1e-2)]
"""Extractors with a C so low that no answer is certain, as calibration would make it: one that is would hide
what led to it."""


@pytest.fixture(scope="module", params=PENALTIES, ids=lambda pair: pair[0].name)
def exported(request: pytest.FixtureRequest) -> Exported:
    """A pipeline and its file."""
    extractor, penalty = request.param
    clips = [extractor.extract(voice(1 + seed % 3, seed), RATE) for seed in range(24)]
    examples = Examples(for_model(clips, "vector", None), np.arange(24) % 3)
    model = LogisticRegression().fit(examples, Defaults({"C": penalty}), FitContext(3, 0, is_draft=True))
    file = end_to_end(extractor, model, LABELS).SerializeToString()
    return extractor, model, runtime.InferenceSession(file)


@pytest.mark.parametrize("name", ODD)
def test_the_file_answers_what_the_pipeline_does(exported: Exported, name: str) -> None:
    extractor, model, session = exported
    answer = session.run(["probabilities"], {"waveform": ODD[name]})[0]
    assert answer.sum() == pytest.approx(1)
    assert answer.max() < 0.95
    wanted = pipeline_probabilities(extractor, model, ODD[name])
    np.testing.assert_allclose(answer, wanted, atol=TOLERANCE)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_has_no_probability(exported: Exported, bad: float) -> None:
    extractor, model, session = exported
    clip = voice(2, 4)
    clip[RATE] = bad
    with np.errstate(invalid="ignore"), pytest.raises(PluginError, match="NaN or infinite"):
        pipeline_probabilities(extractor, model, clip)
    assert np.isnan(session.run(["probabilities"], {"waveform": clip})[0]).all()
