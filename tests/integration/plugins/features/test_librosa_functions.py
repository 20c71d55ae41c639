"""The extractors over librosa's functions give what librosa gives when it is called directly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest

from marsbench.errors import ConfigError
from marsbench.plugin.checks import check
from marsbench.plugin.features import FeatureExtractor, Floats
from marsbench.plugin.search_space import Defaults
from marsbench_plugins.features.librosa_features import LibrosaFeatures
from marsbench_plugins.features.librosa_frames import LibrosaFrames
from marsbench_plugins.features.mfcc import Mfcc
from marsbench_plugins.librosa_functions import _FUNCTIONS

RATE = 22_050
EVERYTHING = ",".join(_FUNCTIONS)
Voice = Callable[[float, float, int], Floats]


def magnitude(y: Floats) -> Any:
    return librosa.magphase(librosa.stft(y))[0]


def onsets(y: Floats) -> Any:
    return librosa.onset.onset_strength(y=y, sr=RATE)


DIRECT: dict[str, Callable[[Floats], Any]] = {
    "mfcc": lambda y: librosa.feature.mfcc(y=y, sr=RATE),
    "melspectrogram": lambda y: librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=RATE)),
    "chroma_stft": lambda y: librosa.feature.chroma_stft(y=y, sr=RATE),
    "spectral_contrast": lambda y: librosa.feature.spectral_contrast(y=y, sr=RATE),
    "spectral_centroid": lambda y: librosa.feature.spectral_centroid(y=y, sr=RATE),
    "spectral_bandwidth": lambda y: librosa.feature.spectral_bandwidth(y=y, sr=RATE),
    "spectral_rolloff": lambda y: librosa.feature.spectral_rolloff(y=y, sr=RATE),
    "spectral_flatness": lambda y: librosa.feature.spectral_flatness(y=y),
    "poly_features": lambda y: librosa.feature.poly_features(y=y, sr=RATE),
    "tonnetz": lambda y: librosa.feature.tonnetz(chroma=librosa.feature.chroma_stft(y=y, sr=RATE)),
    "rms": lambda y: librosa.feature.rms(S=magnitude(y)),
    "zero_crossing_rate": librosa.feature.zero_crossing_rate,
    "onset_strength": onsets,
    "tempo": lambda y: librosa.feature.tempo(onset_envelope=onsets(y), sr=RATE, aggregate=None),
    "tempogram": lambda y: librosa.feature.tempogram(onset_envelope=onsets(y), sr=RATE),
    "yin": lambda y: librosa.yin(y, fmin=65, fmax=600, sr=RATE),
    "pyin": lambda y: np.array(librosa.pyin(y, fmin=65, fmax=600, sr=RATE, fill_na=0.0))[[0, 2]],
}


def frames_of(waveform: Floats, **parameters: Any) -> Floats:
    every = {"bits": None, "n_frames": None}
    return LibrosaFrames.create(every | parameters).checked_extract(waveform, RATE)


@pytest.mark.parametrize("name", _FUNCTIONS)
@pytest.mark.parametrize("seconds", [0.1, 2.0])
def test_a_feature_has_librosas_numbers(voice: Voice, name: str, seconds: float) -> None:
    samples = voice(seconds, 150.0, 0)
    expected = np.atleast_2d(DIRECT[name](samples)).T
    np.testing.assert_allclose(frames_of(samples, features=name), expected, rtol=1e-5, atol=1e-5)


def test_features_stand_side_by_side_in_the_order_asked_for(voice: Voice) -> None:
    samples = voice(1.0, 150.0, 0)
    names = ["rms", "chroma_stft", "yin"]
    expected = np.hstack([frames_of(samples, features=name) for name in names])
    assert np.array_equal(frames_of(samples, features=" rms, chroma_stft,yin"), expected)


def test_its_mfcc_are_those_of_the_mfcc_extractor(voice: Voice) -> None:
    samples = voice(2.0, 150.0, 1)
    ours = Mfcc(n_mfcc=20, offset=0.0, duration=None, n_frames=None, normalisation="none")
    theirs = frames_of(samples, features="mfcc", bits=16)
    np.testing.assert_allclose(theirs, ours.extract(samples, RATE), rtol=0, atol=1e-3)


def test_deltas_are_librosas_and_follow_the_features(voice: Voice) -> None:
    samples = voice(2.0, 150.0, 0)
    static = frames_of(samples, features="mfcc")
    deltas = [librosa.feature.delta(static.T, order=order, mode="nearest").T for order in (1, 2)]
    found = frames_of(samples, features="mfcc", deltas=2)
    np.testing.assert_allclose(found, np.hstack([static, *deltas]), rtol=1e-4, atol=1e-3)


def test_statistics_are_those_of_the_frames(voice: Voice) -> None:
    samples = voice(2.0, 150.0, 0)
    chosen = {"features": "mfcc,yin", "deltas": 1}
    frames = frames_of(samples, **chosen, bits=16)
    expected = [frames.mean(axis=0), frames.std(axis=0), np.median(frames, axis=0)]
    found = LibrosaFeatures(**chosen, percentiles=[50]).checked_extract(samples, RATE)  # type: ignore[arg-type]  # each is of its own kind
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5)


def test_no_more_frames_are_given_than_asked_for(voice: Voice) -> None:
    assert frames_of(voice(1.0, 150.0, 0), n_frames=7).shape == (7, 39)


@pytest.mark.parametrize(
    ("plugin", "parameters"),
    [
        (LibrosaFeatures, {}),
        (LibrosaFrames, {"features": EVERYTHING, "deltas": 2}),
        (
            LibrosaFrames,
            {"features": "yin,tempo", "sample_rate": 16_000, "n_fft": 1024, "hop_length": 160},
        ),
        (LibrosaFrames, {"features": "mfcc,yin", "sample_rate": 16_000}),  # 0.1 s is less than a frame
    ],
)
def test_the_contract_is_kept(plugin: type[FeatureExtractor], parameters: dict[str, Any]) -> None:
    assert [item for item in check(plugin, parameters) if item.problem] == []


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_silence_has_finite_values(seconds: float) -> None:
    silence = np.zeros(round(seconds * RATE), np.float32)
    assert np.isfinite(frames_of(silence, features=EVERYTHING)).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"features": "mfccs"}, "Unknown librosa feature 'mfccs'. Did you mean 'mfcc'?"),
        ({"features": "mfcc,jitter"}, "Unknown librosa feature 'jitter'. Available: chroma_stft, mel"),
        ({"features": ""}, "Unknown librosa feature ''. Available: chroma_stft, mel"),
        ({"features": "mfcc,rms,mfcc"}, "features must name each feature once, not 'mfcc,rms,mfcc'"),
        ({"deltas": 3}, "deltas must be 0, 1 or 2, not 3"),
        ({"n_mfcc": 41, "n_mels": 40}, "n_mfcc must be a whole number from 1 to 40, not 41"),
        ({"features": "yin", "fmin": 20}, "21.5 < fmin < fmax <= 11025 is needed"),
        ({"features": "pyin", "fmin": 700}, "not fmin=700, fmax=600"),
        ({"sample_rate": 8000}, "spectral contrast needs a sample_rate above 12800, not 8000"),
        ({"percentiles": [101]}, "percentiles must lie from 0 to 100, not 101"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_line(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        LibrosaFeatures.create(parameters)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_tuner_chooses_the_number_of_mfcc_and_the_deltas() -> None:
    hp = Defaults({"n_mfcc": 13, "deltas": 1})
    assert LibrosaFrames().build(hp) == LibrosaFrames(n_mfcc=13, deltas=1)
    assert LibrosaFrames().build(Defaults()) == LibrosaFrames()


def test_a_tuner_is_offered_no_number_of_mfcc_where_there_are_none() -> None:
    hp = Defaults()
    LibrosaFeatures(features="rms").build(hp)
    assert hp.values == {"deltas": 1}


def test_every_feature_is_documented() -> None:
    page = (Path(__file__).parents[4] / "docs" / "features.md").read_text("utf-8")
    assert [name for name in _FUNCTIONS if f"`{name}`" not in page] == []
