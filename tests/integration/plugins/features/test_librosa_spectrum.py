"""Our spectrum has the numbers of librosa, which only this file and its neighbour run: it compiles itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.data.audio import load
from marsbench.plugin.features import Floats
from marsbench_plugins.filter_banks import chroma_bank, mel_bank
from marsbench_plugins.pitch_tuning import estimate_tuning
from marsbench_plugins.spectrum import Spectrum

RATE = 22_050
Voice = Callable[[float, float, int], Floats]

VOICES = [(4.0, 110.0, 0), (3.1, 233.0, 1), (0.1, 180.0, 2), (1.0, 400.0, 3)]
CLIPS = [
    "speech/Actor_01/03-01-01-01-01-01-01.flac",
    "speech/Actor_06/03-01-08-01-01-01-06.flac",  # its tuning is decided by a tie
    "song/Actor_24/03-02-05-02-02-02-24.flac",
]


def librosa_log_mel(y: Floats) -> Any:
    return librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=RATE))


def librosa_mfcc(y: Floats) -> Any:
    return librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=40)


def librosa_chroma(y: Floats) -> Any:
    return librosa.feature.chroma_stft(y=y, sr=RATE)


def librosa_contrast(y: Floats) -> Any:
    return librosa.feature.spectral_contrast(y=y, sr=RATE)


each_feature = pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Spectrum.log_mel, librosa_log_mel),
        (Spectrum.mfcc, librosa_mfcc),
        (Spectrum.chroma, librosa_chroma),
        (Spectrum.contrast, librosa_contrast),
    ],
)


@each_feature
@pytest.mark.parametrize("sound", VOICES)
def test_a_voice_has_librosas_numbers(
    voice: Voice, sound: tuple[float, float, int], ours: Callable[[Spectrum], Floats], theirs: Any
) -> None:
    samples = voice(*sound)
    np.testing.assert_allclose(ours(Spectrum(samples, RATE)), theirs(samples).T, rtol=0, atol=1e-3)


@each_feature
@pytest.mark.parametrize("clip", CLIPS)
def test_a_ravdess_clip_has_librosas_numbers(
    ravdess: Path, clip: str, ours: Callable[[Spectrum], Floats], theirs: Any
) -> None:
    samples = load(ravdess / clip, RATE).samples
    np.testing.assert_allclose(ours(Spectrum(samples, RATE)), theirs(samples).T, rtol=0, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(pitch=st.floats(180, 1000), seconds=st.floats(0.2, 1.5), seed=st.integers(0, 2**16))
def test_the_tuning_is_librosas_to_the_last_bit(
    voice: Voice, pitch: float, seconds: float, seed: int
) -> None:
    power = Spectrum(voice(seconds, pitch, seed), RATE).power
    assert estimate_tuning(power, RATE) == librosa.estimate_tuning(S=power.T, sr=RATE)


@pytest.mark.parametrize(("sample_rate", "n_fft", "n_mels"), [(22_050, 2048, 128), (16_000, 1024, 40)])
def test_the_mel_bank_is_librosas(sample_rate: int, n_fft: int, n_mels: int) -> None:
    theirs = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels)
    np.testing.assert_allclose(mel_bank(sample_rate, n_fft, n_mels), theirs.T, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("tuning", [-0.5, 0.0, 0.17])
def test_the_chroma_bank_is_librosas(tuning: float) -> None:
    theirs = librosa.filters.chroma(sr=RATE, n_fft=2048, tuning=tuning)
    np.testing.assert_allclose(chroma_bank(RATE, 2048, 12, tuning), theirs.T, rtol=1e-5, atol=1e-9)
