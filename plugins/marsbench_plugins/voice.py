"""What each frame of a clip tells of the voice: pitch, harmonicity, loudness, the shape of its spectrum."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, signal

from marsbench.plugin.features import Floats
from marsbench_plugins.spectrum import Spectrum, hann

Array = NDArray[np.float64]

HIGHEST_HZ_OF_SHAPE = 5000.0
_LOWEST_HZ, _HIGHEST_HZ = 70.0, 600.0
_REFERENCE_HZ = 55.0
_PITCH_SECONDS = 0.064
"""Four periods and a half of the lowest pitch."""
_FINER = 2
"""Lags to a sample: between whole ones a high voice's peak would be missed, and the next octave taken."""
_OCTAVE_COST = 0.03
"""Taken off for each octave below the highest pitch, lest every second period be taken for the period."""
_AUDIBLE_DB = 40.0
_SMOOTHED_FRAMES = 5
_LEAST = 1e-8
_LEAST_SHARE = 1e-3
"""Harmonicity ends at -30 and 30 dB."""
_FRAMES_AT_ONCE = 64
"""Few enough to stay in the processor's cache, and a clip of minutes out of memory."""


@dataclass(frozen=True)
class Pitch:
    """Pitch of each frame, (n_frames,) each."""

    semitones: Array
    """Above 55 Hz; without meaning where nothing is voiced."""
    harmonicity: Array
    """Energy of the periodic part over that of the rest, dB."""

    @property
    def is_voiced(self) -> NDArray[np.bool_]:
        """Whether the periodic part is the greater one."""
        return self.harmonicity > 0


def pitch_of(samples: Floats, sample_rate: int, hop_length: int) -> Pitch:
    """Highest peak of each frame's autocorrelation between 70 and 600 Hz, median of five frames.

    Boersma (1993), Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
    of a sampled sound: the autocorrelation is divided by that of the window.

    Returns:
        1 + n_samples // hop_length frames, centred like those of `Spectrum`.
    """
    length = 2 * round(_PITCH_SECONDS * sample_rate / 2)
    window = hann(length)
    frames = sliding_window_view(np.pad(samples, length // 2), length)[::hop_length]
    rate = _FINER * sample_rate
    periods = np.arange(int(rate / _HIGHEST_HZ), int(rate / _LOWEST_HZ))
    cost = _OCTAVE_COST * np.log2(periods / periods[0])
    of_window = _autocorrelation(window[None], periods)
    best, share = np.empty(len(frames), np.intp), np.empty(len(frames))
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        block = slice(first, first + _FRAMES_AT_ONCE)
        strength = _autocorrelation(frames[block] * window, periods) / of_window
        best[block] = (strength - cost).argmax(axis=1)
        share[block] = np.take_along_axis(strength, best[block, None], axis=1)[:, 0]
    share = np.clip(share, _LEAST_SHARE, 1 - _LEAST_SHARE)
    semitones = 12 * np.log2(rate / periods[best] / _REFERENCE_HZ)
    return Pitch(median_of_five(semitones), 10 * np.log10(share / (1 - share)))


def median_of_five(track: Array) -> Array:
    """Median of each frame and its four neighbours, (n_frames,)."""
    filtered: Array = signal.medfilt(np.pad(track, _SMOOTHED_FRAMES // 2, mode="edge"), _SMOOTHED_FRAMES)
    return filtered[_SMOOTHED_FRAMES // 2 : -(_SMOOTHED_FRAMES // 2)]


def level_of(spectrum: Spectrum) -> Array:
    """Power of each frame in dB re 1, (n_frames,)."""
    return _decibels(spectrum.power.sum(axis=1, dtype=np.float64))


def is_audible(level: Array) -> NDArray[np.bool_]:
    """Whether a frame is less than 40 dB below the loudest, (n_frames,)."""
    audible: NDArray[np.bool_] = level > level.max() - _AUDIBLE_DB
    return audible


def spectral_shape(spectrum: Spectrum) -> Array:
    """How each frame's power spreads over the frequencies, (n_frames, 11).

    Logarithms of centroid, spread and of the frequencies below which a quarter, half and 85 % of the power
    lie; entropy; flux; and of the Geneva minimalistic set (Eyben et al. 2016): alpha ratio, Hammarberg index,
    slopes below 500 Hz and from there to 1500 Hz in dB / kHz.
    """
    hertz = np.linspace(0, spectrum.sample_rate / 2, spectrum.power.shape[1])
    blocks = []
    for first in range(0, len(spectrum.power), _FRAMES_AT_ONCE):
        before = max(first - 1, 0)  # what the first one of a block has changed from
        power = spectrum.power[before : first + _FRAMES_AT_ONCE].astype(np.float64)
        blocks.append(_shape(power, hertz)[first - before :])
    return np.concatenate(blocks)


def _shape(power: Array, hertz: Array) -> Array:
    """`spectral_shape` of neighbouring frames, the first of which counts as unchanged."""
    share = power / (power.sum(axis=1, keepdims=True) + _LEAST)
    centroid = share @ hertz
    spread = np.sqrt(np.maximum(share @ hertz**2 - centroid**2, 0))
    entropy = -(share * np.log(share + _LEAST)).sum(axis=1)
    rolloffs = [hertz[(share.cumsum(axis=1) >= part).argmax(axis=1)] for part in (0.25, 0.5, 0.85)]
    change = np.diff(np.sqrt(share), axis=0, prepend=np.sqrt(share[:1]))
    low, high = _level(power, hertz, 50, 1000), _level(power, hertz, 1000, HIGHEST_HZ_OF_SHAPE)
    peaks = [_decibels(power[:, _between(hertz, *edges)].max(axis=1)) for edges in ((0, 2000), (2000, 5000))]
    slopes = [_slope(power, hertz, *edges) for edges in ((0, 500), (500, 1500))]
    logarithms = [np.log1p(frequency) for frequency in (centroid, spread, *rolloffs)]
    flux = np.linalg.norm(change, axis=1)
    return np.stack([*logarithms, entropy, flux, low - high, peaks[0] - peaks[1], *slopes], axis=1)


def _autocorrelation(frames: Array, lags: NDArray[np.intp]) -> Array:
    """Of each frame at lags in parts of a sample, over that at lag zero, (n_frames, n_lags)."""
    length = fft.next_fast_len(frames.shape[1] + int(lags[-1]) // _FINER + 1, real=True)
    power = np.square(np.abs(fft.rfft(frames, length, axis=1)))
    correlation = fft.irfft(power, _FINER * length, axis=1)  # zeros above interpolate between samples
    shares: Array = correlation[:, lags] / (correlation[:, :1] + _LEAST)
    return shares


def _between(hertz: Array, lowest: float, highest: float) -> NDArray[np.bool_]:
    return (hertz >= lowest) & (hertz < highest)


def _level(power: Array, hertz: Array, lowest: float, highest: float) -> Array:
    return _decibels(power[:, _between(hertz, lowest, highest)].sum(axis=1))


def _slope(power: Array, hertz: Array, lowest: float, highest: float) -> Array:
    """Of the straight line through the bins' levels, dB / kHz."""
    inside = _between(hertz, lowest, highest)
    kilohertz = (hertz[inside] - hertz[inside].mean()) / 1000
    slope: Array = _decibels(power[:, inside]) @ kilohertz / (kilohertz @ kilohertz)
    return slope


def _decibels(power: Array) -> Array:
    level: Array = 10 * np.log10(power + _LEAST)
    return level
