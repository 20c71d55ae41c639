"""The built-in extractors' ONNX graphs against their `extract`.

How near: the spectrum is equal to the last bit. Levels in dB differ by rounding in single precision, 1e-5;
normalised over a clip, by less. SciPy's cosine transform rounds coefficients near -1000 to 1e-4, and a
standard deviation of values of that size, taken in single precision, is off by 1e-3 where it ought to be 0.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.plugin.features import FeatureExtractor, Floats
from marsbench.plugin.onnx import OPSET
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.log_mel import LogMel
from marsbench_plugins.features.mfcc import Mfcc
from marsbench_plugins.features.mfcc_chroma_contrast import MfccChromaContrast
from marsbench_plugins.framing import FrameExtractor

onnx: Any = pytest.importorskip("onnx", reason="onnx, of the extra export, is not installed")
runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra export, is not installed")

RATE = 22_050
Voice = Callable[[float, float, int], Floats]
SETTINGS = [
    (Mfcc(), 1e-5),
    (Mfcc(n_mfcc=13, offset=0.0, duration=None, n_frames=None), 1e-5),
    (Mfcc(normalisation="none"), 5e-4),
    (LogMel(), 1e-5),
    (LogMel(normalisation="none", bits=None), 5e-5),
    (LogMel(n_mels=40, n_fft=1000, hop_length=441, n_frames=50, bits=8), 1e-5),
    (LogMel(n_mels=20, n_fft=1018, n_frames=50), 1e-5),
    (MfccChromaContrast(), 1e-5),
    (MfccChromaContrast(normalisation="none", hop_length=256, duration=0.7), 5e-4),
    (MfccChromaContrast(sample_rate=16_000, n_fft=1024, bits=12), 1e-5),
    (Functionals(), 3e-3),
    (Functionals(percentiles=[], n_mfcc=20, n_mels=64, offset=0.3), 3e-3),
    (Functionals(percentiles=[0, 33.3, 100], duration=1.0, bits=None), 3e-3),
]


@dataclass(frozen=True)
class Pair:
    """An extractor with its graph, ready to run."""

    extractor: FeatureExtractor
    tolerance: float
    model: Any
    session: Any

    @classmethod
    def of(cls, extractor: FeatureExtractor, tolerance: float) -> "Pair":
        model = extractor.onnx_graph()
        return cls(extractor, tolerance, model, runtime.InferenceSession(model.SerializeToString()))

    def differences(self, samples: Floats) -> Floats:
        """Between what the graph answers and what the extractor does; both have one shape and type."""
        answer = self.session.run(["features"], {"waveform": samples})[0]
        wanted = self.extractor.checked_extract(samples, self.extractor.sample_rate)
        assert (answer.shape, answer.dtype) == (wanted.shape, wanted.dtype)
        return np.asarray(abs(answer - wanted))


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda setting: setting[0].name)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair.of(*request.param)


def tone(seconds: Floats, random: np.random.Generator) -> Floats:
    return np.asarray(np.sin(2 * np.pi * random.uniform(50, 5000) * seconds))


def chord(seconds: Floats, random: np.random.Generator) -> Floats:
    return np.asarray(sum(tone(seconds, random) / 5 for _ in range(5)))


def noise(seconds: Floats, random: np.random.Generator) -> Floats:
    return random.normal(0, 0.3, len(seconds)).astype(np.float32)


def clicks(seconds: Floats, random: np.random.Generator) -> Floats:
    return (random.random(len(seconds)) < 1e-3).astype(np.float32)


def sound(
    make: Callable[[Floats, np.random.Generator], Floats],
    n_samples: int,
    loudness: float,
    edges: int,
    seed: int,
) -> Floats:
    """Something with silence of `edges` samples on both sides."""
    seconds = (np.arange(n_samples) / RATE).astype(np.float32)
    samples = loudness * make(seconds, np.random.default_rng(seed))
    samples[:edges] = samples[len(samples) - edges :] = 0
    return np.asarray(samples, np.float32)


sounds = st.builds(
    sound,
    make=st.sampled_from([tone, chord, noise, clicks]),
    n_samples=st.integers(1600, 5 * RATE),
    loudness=st.sampled_from([1.5, 0.1, 1e-3, 1e-5]),
    edges=st.sampled_from([0, 0, 700, 20_000]),
    seed=st.integers(0, 1000),
)


@given(samples=sounds)
@settings(max_examples=15, deadline=None)
def test_a_graph_gives_what_its_extractor_does(pair: Pair, samples: Floats) -> None:
    assert pair.differences(samples).max() <= pair.tolerance


@pytest.fixture(scope="module")
def speech(voice: Voice) -> Floats:
    """Six seconds of a voice."""
    return voice(6.0, 170, 3)


@pytest.mark.parametrize("n_samples", [1600, 2047, 2048, 2205, 13_072, 13_073, 99_225, 99_226, 120_000])
def test_every_length_gives_its_frames(pair: Pair, speech: Floats, n_samples: int) -> None:
    assert pair.differences(speech[:n_samples]).max() <= pair.tolerance


def test_a_clip_that_is_silent_where_it_is_heard_is_the_same(pair: Pair) -> None:
    assert pair.differences(np.eye(1, 40_000, 100, dtype=np.float32)[0]).max() <= pair.tolerance


def test_a_single_frame_does_not_change() -> None:
    pair = Pair.of(Functionals(hop_length=4096), 1e-3)
    assert pair.differences(np.ones(2205, np.float32)).max() <= pair.tolerance


# Where a dimension hardly varies, dividing by its deviation enlarges the rounding: voices do vary.
@pytest.mark.parametrize("plugin", [Mfcc, LogMel, MfccChromaContrast])
def test_frames_normalised_by_dimension_are_the_same(voice: Voice, plugin: type[FrameExtractor]) -> None:
    pair = Pair.of(plugin(normalisation="dimension"), 1e-3)
    assert (
        max(pair.differences(voice(3.0, 90 + 40 * seed, seed)).max() for seed in range(5)) <= pair.tolerance
    )


@pytest.mark.parametrize("cents", range(-50, 50, 10))
def test_chroma_follows_the_tuning_of_the_clip(cents: int) -> None:
    seconds = np.arange(RATE) / RATE
    pitches = 220 * 2 ** (np.array([0, 3, 7]) / 12 + cents / 1200)
    samples = np.sin(2 * np.pi * pitches[:, None] * seconds).mean(axis=0).astype(np.float32)
    assert Pair.of(MfccChromaContrast(normalisation="none"), 1e-3).differences(samples).max() <= 1e-3


def test_a_graph_is_valid_and_of_standard_operators_alone(pair: Pair) -> None:
    onnx.checker.check_model(pair.model, full_check=True)
    assert [(entry.domain, entry.version) for entry in pair.model.opset_import] == [("", OPSET)]


def test_extractors_are_imported_without_onnx() -> None:
    names = [type(extractor).__module__ for extractor, _ in SETTINGS]
    program = f"import sys, {', '.join(sorted(set(names)))}; print('onnx' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
