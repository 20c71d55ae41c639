from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.plugin.features import Floats
from marsbench_plugins.pitch_tuning import estimate_tuning
from marsbench_plugins.spectrum import Spectrum, contrast_bands

RATE = 22_050
Voice = Callable[[float, float, int], Floats]

every_feature = pytest.mark.parametrize(
    ("feature", "n_dims"),
    [(Spectrum.log_mel, 128), (Spectrum.mfcc, 40), (Spectrum.chroma, 12), (Spectrum.contrast, 7)],
)


def tone(hertz: float, seconds: float = 1.0) -> Floats:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


@every_feature
@given(n_samples=st.integers(1, 6 * RATE))
@settings(max_examples=15, deadline=None)
def test_there_is_a_frame_for_every_hop_begun(
    feature: Callable[[Spectrum], Floats], n_dims: int, n_samples: int
) -> None:
    values = feature(Spectrum(tone(440, 6)[:n_samples], RATE))
    assert values.shape == (1 + n_samples // 512, n_dims)
    assert values.dtype == np.float32


@every_feature
@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(RATE, np.float32),
        np.append(np.zeros(RATE, np.float32), tone(440, 0.1)),
        tone(440),
        np.eye(1, 2205, 1000, dtype=np.float32)[0],
        np.ones(2205, np.float32),
        np.full(RATE, 1e-30, np.float32),
    ],
    ids=["silence", "silence before a tone", "tone", "click", "constant", "almost nothing"],
)
def test_degenerate_sounds_give_finite_values(
    feature: Callable[[Spectrum], Floats], n_dims: int, samples: Floats
) -> None:
    values = feature(Spectrum(samples, RATE))
    assert np.isfinite(values).all()
    assert values.shape[1] == n_dims


@pytest.mark.parametrize("feature", [Spectrum.chroma, Spectrum.contrast])
@pytest.mark.parametrize("gain", [0.25, 2.0, 16.0])
def test_chroma_and_contrast_do_not_depend_on_gain(
    voice: Voice, feature: Callable[[Spectrum], Floats], gain: float
) -> None:
    samples = voice(1.0, 150, 0) + 0.001 * voice(1.0, 990, 1)
    loud = feature(Spectrum(np.float32(gain) * samples, RATE))
    np.testing.assert_allclose(loud, feature(Spectrum(samples, RATE)), atol=1e-3)


def test_gain_moves_every_mel_level_alike(voice: Voice) -> None:
    samples = voice(1.0, 150, 0)
    louder = Spectrum(10 * samples, RATE).log_mel()
    sounding = louder > louder.max() - 60
    np.testing.assert_allclose((louder - Spectrum(samples, RATE).log_mel())[sounding], 20, atol=1e-3)


@pytest.mark.parametrize(("hertz", "pitch_class"), [(261.63, 0), (440.0, 9), (987.77, 11)])
def test_a_tone_lights_its_own_pitch_class(hertz: float, pitch_class: int) -> None:
    assert (Spectrum(tone(hertz), RATE).chroma().argmax(axis=1) == pitch_class).all()


@pytest.mark.parametrize("cents", [-40, -10, 0, 25])
def test_the_tuning_of_a_tone_is_found(cents: int) -> None:
    power = Spectrum(tone(440 * 2 ** (cents / 1200)), RATE).power
    assert estimate_tuning(power, RATE) == pytest.approx(cents / 100, abs=0.05)


def test_silence_has_no_tuning() -> None:
    assert estimate_tuning(np.zeros((5, 1025), np.float32), RATE) == 0


@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "message"),
    [(8000, 2048, "sample_rate above 12800"), (22_050, 128, "n_fft of at least 220")],
)
def test_contrast_refuses_what_leaves_a_band_empty(sample_rate: int, n_fft: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contrast_bands(sample_rate, n_fft)
