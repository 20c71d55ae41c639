from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.data.audio import load
from marsbench.errors import ConfigError
from marsbench.plugin.features import Floats
from marsbench_plugins.features.prosody import Prosody
from marsbench_plugins.spectrum import Spectrum
from marsbench_plugins.voice import level_of, pitch_of, spectral_shape

RATE = 16_000
HOP = 160
N_TRACKS, N_CONTOURS = 37, 14
RHYTHM = 13 * N_TRACKS + 13 * N_CONTOURS + 6 * N_TRACKS
Voice = Callable[[float, float, int], Floats]


def buzz(hertz: float, seconds: float = 0.5) -> Floats:
    """Ten harmonics, the higher the weaker."""
    time = np.arange(round(seconds * RATE)) / RATE
    harmonics = [np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 11) if k * hertz < RATE / 2]
    sound: Floats = (0.1 * np.array(harmonics)).sum(axis=0).astype(np.float32)
    return sound


def noise(seconds: float = 0.5) -> Floats:
    return np.random.default_rng(0).normal(0, 0.05, round(seconds * RATE)).astype(np.float32)


@given(hertz=st.floats(75, 550))
@settings(max_examples=20)
def test_the_pitch_of_a_harmonic_sound_is_its_fundamental(hertz: float) -> None:
    pitch = pitch_of(buzz(hertz), RATE, HOP)
    inside = slice(5, -5)
    assert pitch.is_voiced[inside].all()
    expected = 12 * np.log2(hertz / 55)
    np.testing.assert_allclose(pitch.semitones[inside], expected, atol=0.4)


def test_noise_is_not_voiced_and_lowers_harmonicity() -> None:
    assert pitch_of(noise(), RATE, HOP).is_voiced.mean() < 0.05
    clean, breathy = buzz(150), buzz(150) + noise()
    assert (
        np.median(pitch_of(breathy, RATE, HOP).harmonicity)
        < np.median(pitch_of(clean, RATE, HOP).harmonicity) - 6
    )


@pytest.mark.parametrize("gain", [0.25, 0.5, 2.0])
def test_a_louder_clip_differs_in_its_level_alone(gain: float) -> None:
    quiet, loud = (Spectrum(factor * (buzz(200) + noise()), RATE, 1024, HOP) for factor in (1, gain))
    np.testing.assert_allclose(level_of(loud), level_of(quiet) + 20 * np.log10(gain), atol=1e-3)
    np.testing.assert_allclose(spectral_shape(loud), spectral_shape(quiet), atol=0.1)


def test_a_bright_sound_has_a_higher_centroid_and_a_flatter_slope() -> None:
    dull, bright = (
        spectral_shape(Spectrum(samples, RATE, 1024, HOP)).mean(axis=0) for samples in (buzz(150), noise())
    )
    centroid, alpha, hammarberg, slope = 0, 7, 8, 10
    assert bright[centroid] > dull[centroid] + 1
    assert bright[alpha] < dull[alpha] - 6
    assert bright[hammarberg] < dull[hammarberg] - 6
    assert bright[slope] > dull[slope]


@given(n_samples=st.integers(1600, 4 * RATE))
@settings(max_examples=8)
def test_there_is_one_length_for_every_clip(voice: Voice, n_samples: int) -> None:
    assert Prosody().checked_extract(voice(4.0, 200, 0)[:n_samples], RATE).shape == (1267,)


@pytest.mark.parametrize(
    "sound", [np.zeros(1600, np.float32), np.eye(1, 40_000, 100, dtype=np.float32)[0], noise()]
)
def test_a_clip_without_a_voice_gives_finite_features(sound: Floats) -> None:
    assert np.isfinite(Prosody().checked_extract(sound, RATE)).all()


@given(before=st.integers(0, 100), after=st.integers(0, 100))
@settings(max_examples=6)
def test_silence_around_what_is_said_changes_nothing(voice: Voice, before: int, after: int) -> None:
    said = np.pad(voice(1.0, 150, 2), 2048)
    padded = np.pad(said, (before * HOP, after * HOP))
    np.testing.assert_allclose(
        Prosody().extract(padded, RATE), Prosody().extract(said, RATE), rtol=1e-4, atol=1e-4
    )


def test_rhythm_tells_stretches_from_pauses() -> None:
    pause = np.zeros(RATE // 4, np.float32)
    clip = np.concatenate([buzz(150), pause, buzz(150), pause, buzz(150)])
    _, voiced, _, stretches, longest = Prosody().extract(clip, RATE)[RHYTHM : RHYTHM + 5]
    assert stretches == 3
    assert 0.7 < voiced < 0.9
    assert longest == pytest.approx(50, abs=7)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sample_rate": 8000}, "sample_rate must be at least 10000, not 8000"),
        ({"n_fft": 1023}, "n_fft must be even and at least 160, not 1023"),
        ({"n_fft": 128}, "n_fft must be even and at least 160, not 128"),
        ({"hop_length": 512}, "hop_length must be a whole number from 1 to 160, not 512"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Prosody.create(parameters)


def test_a_48_khz_original_has_the_features_of_its_resampled_file(ravdess: Path, ravdess_48k: Path) -> None:
    originals = sorted(ravdess_48k.rglob("*.wav"))
    twins = [next(ravdess.glob(f"*/Actor_*/{original.stem}.flac")) for original in originals]
    both = [
        np.stack([Prosody().extract(load(path, RATE).samples, RATE) for path in paths])
        for paths in (originals, twins)
    ]
    scale = both[1].std(axis=0) + 1e-6
    differences = np.abs(both[0] - both[1]) / scale
    assert len(originals) > 0
    # Of a standard deviation: a frame at the edge of being voiced counts or does not.
    assert np.median(differences) < 0.02
    assert np.percentile(differences, 99) < 0.3
