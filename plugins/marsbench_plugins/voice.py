"""Voice features per frame: pitch, harmonicity, level and spectral shape."""

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
"""Window length: 4.5 periods of the lowest pitch."""
_FINER = 2
"""Lags per sample; with whole samples, peaks of high voices would be missed and the octave below chosen."""
_OCTAVE_COST = 0.03
"""Penalty per octave below the highest pitch, which prevents choosing twice the period."""
_AUDIBLE_DB = 40.0
_SMOOTHED_FRAMES = 5
_LEAST = 1e-8
_LEAST_SHARE = 1e-3
"""Limits harmonicity to the range from -30 to 30 dB."""
_FRAMES_AT_ONCE = 64
"""So few frames fit into the processor's cache, and long clips need little memory."""


@dataclass(frozen=True)
class Pitch:
    """Pitch of each frame, (n_frames,) each."""

    semitones: Array
    """Semitones above 55 Hz; undefined for unvoiced frames."""
    harmonicity: Array
    """Harmonics-to-noise ratio, dB."""

    @property
    def is_voiced(self) -> NDArray[np.bool_]:
        """Whether the periodic part has more energy than the rest, (n_frames,)."""
        return self.harmonicity > 0


def pitch_of(samples: Floats, sample_rate: int, hop_length: int) -> Pitch:
    """Pitch between 70 and 600 Hz from the highest peak of the autocorrelation, median of five frames.

    Boersma (1993), Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
    of a sampled sound: the autocorrelation is divided by that of the window.

    Returns:
        Pitch of 1 + n_samples // hop_length frames, centred like those of `Spectrum`.
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
    """Eleven descriptors of each frame's power spectrum, (n_frames, 11).

    Logarithms of centroid, spread and 25, 50 and 85 % rolloff; entropy; flux; and from the Geneva
    minimalistic set (Eyben et al. 2016): alpha ratio, Hammarberg index, spectral slopes below 500 Hz and from
    500 to 1500 Hz in dB / kHz.
    """
    hertz = np.linspace(0, spectrum.sample_rate / 2, spectrum.power.shape[1])
    blocks = []
    for first in range(0, len(spectrum.power), _FRAMES_AT_ONCE):
        before = max(first - 1, 0)  # flux needs the frame before the block
        power = spectrum.power[before : first + _FRAMES_AT_ONCE].astype(np.float64)
        blocks.append(_shape(power, hertz)[first - before :])
    return np.concatenate(blocks)


def _shape(power: Array, hertz: Array) -> Array:
    """`spectral_shape` of consecutive frames; the flux of the first one is 0."""
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
    """Autocorrelation at lags in units of 1 / `_FINER` samples, relative to lag 0, (n_frames, n_lags)."""
    length = fft.next_fast_len(frames.shape[1] + int(lags[-1]) // _FINER + 1, real=True)
    power = np.square(np.abs(fft.rfft(frames, length, axis=1)))
    correlation = fft.irfft(power, _FINER * length, axis=1)  # zero padding interpolates between samples
    shares: Array = correlation[:, lags] / (correlation[:, :1] + _LEAST)
    return shares


def _between(hertz: Array, lowest: float, highest: float) -> NDArray[np.bool_]:
    return (hertz >= lowest) & (hertz < highest)


def _level(power: Array, hertz: Array, lowest: float, highest: float) -> Array:
    return _decibels(power[:, _between(hertz, lowest, highest)].sum(axis=1))


def _slope(power: Array, hertz: Array, lowest: float, highest: float) -> Array:
    """Slope of the regression line through the levels of the bins, dB / kHz, (n_frames,)."""
    inside = _between(hertz, lowest, highest)
    kilohertz = (hertz[inside] - hertz[inside].mean()) / 1000
    slope: Array = _decibels(power[:, inside]) @ kilohertz / (kilohertz @ kilohertz)
    return slope


def _decibels(power: Array) -> Array:
    level: Array = 10 * np.log10(power + _LEAST)
    return level
