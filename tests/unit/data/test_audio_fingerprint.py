from functools import cache

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.data.duplicates import (
    RATE,
    SIZE,
    compute_fingerprint,
    effective_seconds,
    fingerprint_vector,
    max_correlation,
    resample_normalised,
)
from marsbench.data.labels import EMOTIONS
from marsbench_plugins.synthesis import SAMPLE_RATE, SENTENCES, Speaker, speak

Samples = NDArray[np.float32]


@cache
def recording(number: int) -> Samples:
    voice = Speaker.draw(0, number % 3)
    spoken = speak(voice, EMOTIONS[number % 8], SENTENCES[0], np.random.default_rng(number))
    return (spoken / 32_768).astype(np.float32)


def similarity(first: Samples, second: Samples, rates: tuple[int, int] = (SAMPLE_RATE, SAMPLE_RATE)) -> float:
    a, b = (
        fingerprint_vector(compute_fingerprint(samples, rate))
        for samples, rate in zip((first, second), rates, strict=True)
    )
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def tone(pitch: float, seconds: float = 0.2) -> Samples:
    return np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


@given(decibels=st.floats(-60, 60), sign=st.sampled_from([1, -1]))
def test_a_fingerprint_does_not_depend_on_gain_or_sign(decibels: float, sign: int) -> None:
    louder = (recording(0) * (sign * 10 ** (decibels / 20))).astype(np.float32)
    assert similarity(recording(0), louder) > 0.999


@settings(deadline=None)
@given(before=st.integers(0, 2 * SAMPLE_RATE), behind=st.integers(0, 2 * SAMPLE_RATE))
def test_a_fingerprint_does_not_depend_on_silence_before_or_behind(before: int, behind: int) -> None:
    assert similarity(recording(0), np.pad(recording(0), (before, behind))) > 0.98


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_a_fingerprint_hardly_depends_on_the_sample_rate(rate: int) -> None:
    resampled = soxr.resample(recording(0), SAMPLE_RATE, rate)
    assert similarity(recording(0), resampled, (SAMPLE_RATE, rate)) > 0.98


@pytest.mark.parametrize("other", range(1, 12))
def test_other_takes_speakers_and_emotions_have_other_fingerprints(other: int) -> None:
    assert similarity(recording(0), recording(other)) < 0.8


@settings(deadline=None)
@given(shift=st.integers(0, SAMPLE_RATE), decibels=st.floats(-40, 40))
def test_a_recording_is_like_itself_whatever_the_shift_and_the_gain(shift: int, decibels: float) -> None:
    louder = (np.pad(recording(0), (shift, 0)) * 10 ** (decibels / 20)).astype(np.float32)
    first, second = (resample_normalised(samples, SAMPLE_RATE) for samples in (recording(0), louder))
    assert max_correlation(first, second) == pytest.approx(max_correlation(second, first))
    assert 0.9 < max_correlation(first, second) <= 1


def test_another_take_is_not_like_it() -> None:
    first, second = (resample_normalised(recording(number), SAMPLE_RATE) for number in (0, 24))
    assert max_correlation(first, second) < 0.5


@given(before=st.integers(0, RATE), behind=st.integers(0, RATE), gain=st.floats(1e-6, 1e6))
def test_silence_and_gain_do_not_count_as_effective_seconds(before: int, behind: int, gain: float) -> None:
    padded = np.pad(tone(440, 0.5) * np.float32(gain), (before, behind))
    assert effective_seconds(padded) == pytest.approx(0.5, abs=0.025)


def test_a_clip_without_sound_has_no_effective_seconds() -> None:
    assert effective_seconds(np.zeros(RATE, np.float32)) == 0


def test_what_lies_below_100_hz_does_not_count() -> None:
    speech = resample_normalised(recording(0), SAMPLE_RATE)
    hum = np.sin(2 * np.pi * 50 * np.arange(len(speech)) / RATE).astype(np.float32)
    assert max_correlation(speech, speech + 3 * hum) > 0.95


@pytest.mark.parametrize("seconds", [0.1, 0.5, 4.0])
@pytest.mark.parametrize("pitch", [110, 440, 3_000])
def test_a_steady_tone_has_no_fingerprint(pitch: float, seconds: float) -> None:
    assert compute_fingerprint(tone(pitch, seconds), RATE) == ""


def test_an_offset_alone_has_no_fingerprint() -> None:
    assert compute_fingerprint(np.full(RATE, 0.3, np.float32), RATE) == ""
    assert max_correlation(np.zeros(RATE, np.float32), tone(440)) == 0


@pytest.mark.parametrize("scale", [1e-38, 1, 2.0**33], ids=str)
@pytest.mark.parametrize(("rate", "seconds"), [(1_000, 0.1), (1_000, 300), (48_000, 0.1), (48_000, 30)])
def test_clips_of_any_length_rate_and_level_have_a_fingerprint(
    rate: int, seconds: float, scale: float
) -> None:
    noise = np.random.default_rng(0).uniform(-scale, scale, int(rate * seconds)).astype(np.float32)
    text = compute_fingerprint(noise, rate)
    assert fingerprint_vector(text).shape == (SIZE,)
    assert np.abs(fingerprint_vector(text)).max() == 127


@pytest.mark.parametrize("text", ["", "AAAA", "no fingerprint!", "A" * 600])
def test_what_is_not_a_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"print|base64|padding|[Nn]on-base64"):
        fingerprint_vector(text)
