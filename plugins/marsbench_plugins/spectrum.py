"""Spectral features from one short-time Fourier transform per clip, numerically equal to librosa's.

librosa 0.11 is the reference. Its functions transform the clip again for each feature and are compiled on
first use; these share one transform and need no compilation.
"""

from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from marsbench.plugin.features import Floats
from marsbench_plugins.filter_banks import chroma_bank, mel_blocks
from marsbench_plugins.pitch_tuning import estimate_tuning

MFCC_BANDS = 128
N_CHROMA = 12
N_CONTRAST = 7
TOP_DB = 80.0
LEAST_POWER = 1e-10
_LOWEST_BAND_HZ = 200.0
_EXTREME_SHARE = 0.02
_FRAMES_AT_ONCE = 8
"""So few frames fit into the processor's cache, which halves the time of the transform."""


class Spectrum:
    """Hann-windowed, centred, zero-padded STFT; every result is float32 with one row per frame.

    There are 1 + n_samples // hop_length frames and 1 + n_fft // 2 bins. The samples are not modified.
    """

    def __init__(self, samples: Floats, sample_rate: int, n_fft: int = 2048, hop_length: int = 512) -> None:
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.magnitude = _magnitudes(samples, n_fft, hop_length)
        """Magnitude of each bin, (n_frames, n_bins)."""

    @cached_property
    def power(self) -> Floats:
        """Squared magnitudes, (n_frames, n_bins)."""
        return np.square(self.magnitude)

    @cached_property
    def tuning(self) -> float:
        """Deviation of the clip's tuning from A = 440 Hz in semitones; used by `chroma`."""
        return estimate_tuning(self.power, self.sample_rate, N_CHROMA)

    def mel_power(self, n_mels: int = MFCC_BANDS) -> Floats:
        """Power in Slaney's mel bands, (n_frames, n_mels)."""
        mel = np.zeros((len(self.power), n_mels), np.float32)
        for block in mel_blocks(self.sample_rate, self.n_fft, n_mels):
            mel[:, block.bands] += self.power[:, block.bins] @ block.weights
        return mel

    def log_mel(self, n_mels: int = MFCC_BANDS) -> Floats:
        """Mel power in dB re 1, floored at 80 dB below the clip's maximum, (n_frames, n_mels)."""
        return decibels(self.mel_power(n_mels))

    def mfcc(self, n_mfcc: int = 40) -> Floats:
        """First coefficients of the orthonormal DCT-II of 128 log-mel bands, (n_frames, n_mfcc)."""
        coefficients: Floats = fft.dct(self.log_mel(), type=2, norm="ortho", axis=1)[:, :n_mfcc]
        return coefficients

    def chroma(self) -> Floats:
        """Energy of the twelve pitch classes from C on, divided by each frame's maximum, (n_frames, 12).

        The filters are adapted to the clip's tuning. A frame without energy is zero.
        """
        energy = self.power @ chroma_bank(self.sample_rate, self.n_fft, N_CHROMA, self.tuning)
        highest = energy.max(axis=1, keepdims=True)
        highest[highest < np.finfo(np.float32).tiny] = 1
        chroma: Floats = energy / highest
        return chroma

    def contrast(self) -> Floats:
        """Peak to valley ratio of the magnitude in seven bands, dB, (n_frames, 7).

        Jiang et al. (2002), Music type classification by spectral contrast feature: the mean of the highest
        2 % of the bins relative to that of the lowest 2 %, below 200 Hz and in the six octaves above.

        Raises:
            ValueError: the sample rate or `n_fft` leaves a band without bins.
        """
        bands = contrast_bands(self.sample_rate, self.n_fft)
        extremes = [
            _valley_and_peak(self.magnitude[:, band.start : band.end], band.n_extreme) for band in bands
        ]
        valleys = np.stack([valley for valley, _ in extremes], axis=1)
        peaks = np.stack([peak for _, peak in extremes], axis=1)
        return decibels(peaks) - decibels(valleys)


class Band(NamedTuple):
    """Bins from `start` to `end` (exclusive); `n_extreme` bins are averaged for its peak and its valley."""

    start: int
    end: int
    n_extreme: int


@lru_cache(maxsize=16)
def contrast_bands(sample_rate: int, n_fft: int) -> tuple[Band, ...]:
    """Bands of `Spectrum.contrast`, with librosa's conventions for bins at the band edges.

    Raises:
        ValueError: the sample rate is too low for six octaves above 200 Hz, or the bins are too wide.
    """
    edges = [0.0, *(_LOWEST_BAND_HZ * 2**octave for octave in range(N_CONTRAST))]
    if sample_rate <= 2 * edges[-2]:
        raise ValueError(
            f"spectral contrast needs a sample_rate above {2 * edges[-2]:.0f}, not {sample_rate}"
        )
    if sample_rate / n_fft > _LOWEST_BAND_HZ / 2:
        raise ValueError(
            f"spectral contrast at {sample_rate} Hz needs an n_fft of at least"
            f" {2 * sample_rate / _LOWEST_BAND_HZ:.0f}, not {n_fft}"
        )
    frequencies = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    return tuple(_band(frequencies, edges, index) for index in range(N_CONTRAST))


def decibels(power: Floats) -> Floats:
    """10 log10 of `power`, floored at 1e-10 and at 80 dB below the maximum; any shape."""
    levels: Floats = np.float32(10) * np.log10(np.maximum(power, LEAST_POWER))
    floored: Floats = np.maximum(levels, levels.max() - TOP_DB)
    return floored


def _magnitudes(samples: Floats, n_fft: int, hop_length: int) -> Floats:
    frames = sliding_window_view(np.pad(samples, n_fft // 2), n_fft)[::hop_length]
    magnitudes = np.empty((len(frames), n_fft // 2 + 1), np.float32)
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        block = slice(first, first + _FRAMES_AT_ONCE)
        # The transform is computed in double precision, as single precision changes the valleys of spectral
        # contrast by 0.1 dB. It is rounded before `abs`, as in librosa: the tuning estimate compares bins for
        # equality, so the last bit matters.
        transform = fft.rfft(frames[block] * hann(n_fft), axis=1).astype(np.complex64)
        np.abs(transform, out=magnitudes[block])
    return magnitudes


@lru_cache(maxsize=16)
def hann(length: int) -> NDArray[np.float64]:
    """Periodic Hann window, (length,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _band(frequencies: NDArray[np.floating], edges: list[float], index: int) -> Band:
    inside = np.flatnonzero((frequencies >= edges[index]) & (frequencies <= edges[index + 1]))
    start = int(inside[0]) - (index > 0)
    is_last = index == N_CONTRAST - 1
    end = len(frequencies) if is_last else int(inside[-1]) + 1
    n_extreme = max(1, int(np.rint(_EXTREME_SHARE * (end - start))))
    return Band(start, end if is_last else end - 1, n_extreme)


def _valley_and_peak(magnitude: Floats, n_extreme: int) -> tuple[Floats, Floats]:
    """Means of the lowest and the highest bins of each frame, (n_frames,) each."""
    ordered = np.sort(magnitude, axis=1)  # NumPy's sort is vectorised, its partition is not
    return ordered[:, :n_extreme].mean(axis=1), ordered[:, -n_extreme:].mean(axis=1)
