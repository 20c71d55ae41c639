"""Prosody of a clip: statistics of pitch, loudness, timbre and rhythm."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from marsbench.plugin.features import FeatureExtractor, FeatureKind, Floats
from marsbench_plugins.framing import require_whole, rounded
from marsbench_plugins.spectrum import Spectrum
from marsbench_plugins.voice import (
    HIGHEST_HZ_OF_SHAPE,
    Array,
    is_audible,
    level_of,
    median_of_five,
    pitch_of,
    spectral_shape,
)

_BITS = 16
_N_MELS = 64
_N_MFCC = 23
_N_CONTOURS = 14
"""Columns with statistics over all frames, voiced or not: all but the MFCC."""
_PITCH, _LEVEL = 0, 2
"""Indices of columns."""
_LEAST_FRAME_RATE = 100
"""Hz; modulations up to 35 Hz need at least twice that."""
_WIDEST_BIN_HZ = 100
_DELTA_FRAMES = 9
_FEW = 10
_LEAP = 3.0
"""Semitones; larger changes between neighbouring frames are estimation errors or new voiced segments."""
_PEAK_DB = 3.0
_MODULATION_HZ = [0.5, 1.5, 3, 5, 8, 12, 20, 35]
_MODULATION_BANDS = 16
_LEAST_TRANSFORM = 512


@dataclass
class Prosody(FeatureExtractor):
    """Statistics of pitch, harmonicity, loudness, spectral shape, MFCC and mel bands; rhythm and modulations.

    Computed from the first to the last audible frame, that is, less than 40 dB below the loudest. Most
    statistics are over voiced frames, in which timbre is that of the voice; with fewer than ten of them, over
    all audible frames. Similar to the Geneva sets (Eyben et al. 2016), with a modulation spectrum (Wu, Falk
    and Chan 2011).

    Raises:
        ValueError: a parameter is out of range.
    """

    kind: ClassVar[FeatureKind] = "vector"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "scipy")

    sample_rate: int = 16_000
    n_fft: int = 1024
    hop_length: int = 160

    def __post_init__(self) -> None:
        require_whole("sample_rate", self.sample_rate)
        if self.sample_rate < 2 * HIGHEST_HZ_OF_SHAPE:
            raise ValueError(
                f"sample_rate must be at least {2 * HIGHEST_HZ_OF_SHAPE:.0f}, not {self.sample_rate}"
            )
        require_whole("hop_length", self.hop_length, self.sample_rate // _LEAST_FRAME_RATE)
        require_whole("n_fft", self.n_fft)
        least = self.sample_rate // _WIDEST_BIN_HZ
        if self.n_fft % 2 or self.n_fft < least:
            raise ValueError(f"n_fft must be even and at least {least}, not {self.n_fft}")

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """All statistics, concatenated, (1267,)."""
        # Rounded to 16 bits, so that a clip resampled in floating point has the features of its 16-bit file.
        samples = rounded(waveform, _BITS)
        spectrum = Spectrum(samples, sample_rate, self.n_fft, self.hop_length)
        pitch = pitch_of(samples, sample_rate, self.hop_length)
        level = level_of(spectrum)
        log_mel = spectrum.log_mel(_N_MELS).astype(np.float64)
        mfcc = fft.dct(log_mel, type=2, norm="ortho", axis=1)[:, 1 : _N_MFCC + 1]
        tracks = np.column_stack([pitch.semitones, pitch.harmonicity, level, spectral_shape(spectrum), mfcc])
        audible = is_audible(level)
        span = slice(audible.argmax(), len(audible) - audible[::-1].argmax())
        voiced = audible & pitch.is_voiced
        if voiced.sum() < _FEW:
            voiced = audible
        return _statistics(
            tracks[span], log_mel[span], voiced[span], audible[span], sample_rate / self.hop_length
        )


def _statistics(
    tracks: Array, log_mel: Array, voiced: NDArray[np.bool_], audible: NDArray[np.bool_], frame_rate: float
) -> Floats:
    parts = [
        _track_statistics(tracks[voiced]),
        _track_statistics(tracks[:, :_N_CONTOURS]),
        _change_statistics(_derivative(tracks, 1)[voiced]),
        *_magnitudes(_derivative(tracks, 2)[voiced]),
        _rhythm(tracks[:, _PITCH], tracks[:, _LEVEL], voiced, audible),
        _modulations(log_mel, frame_rate),
        _band_statistics(log_mel[voiced]),
    ]
    return np.concatenate(parts, dtype=np.float32)


def _track_statistics(tracks: Array) -> Array:
    """Thirteen statistics of each column, (13 * n_dims,)."""
    mean, deviation = tracks.mean(axis=0), tracks.std(axis=0)
    low, lower, middle, higher, high = np.percentile(tracks, [5, 20, 50, 80, 95], axis=0)
    centred = tracks - mean
    time = np.linspace(-1, 1, len(tracks))
    bend = 3 * np.square(time) - 1
    slope, curvature = time @ centred / (time @ time), bend @ centred / (bend @ bend)
    scaled = centred / np.where(deviation > 0, deviation, 1)
    skewness, kurtosis = (scaled**3).mean(axis=0), (scaled**4).mean(axis=0)
    spans = [higher - lower, high - low]
    moments = [mean, deviation, skewness, kurtosis]
    return np.concatenate([*moments, low, lower, middle, higher, high, *spans, slope, curvature])


def _change_statistics(changes: Array) -> Array:
    """Four statistics of each column, (4 * n_dims,)."""
    return np.concatenate([*_magnitudes(changes), *np.percentile(changes, [5, 95], axis=0)])


def _magnitudes(changes: Array) -> tuple[Array, Array]:
    """Standard deviation and mean absolute value of each column, (n_dims,) each."""
    return changes.std(axis=0), np.abs(changes).mean(axis=0)


def _band_statistics(log_mel: Array) -> Array:
    """Four statistics of each band, (4 * n_mels,)."""
    return np.concatenate(
        [log_mel.mean(axis=0), log_mel.std(axis=0), *np.percentile(log_mel, [10, 90], axis=0)]
    )


def _derivative(tracks: Array, order: int) -> Array:
    """Derivative of a polynomial through nine frames (Savitzky and Golay 1964), in the shape of `tracks`."""
    slopes: Array = signal.savgol_filter(tracks, _DELTA_FRAMES, order, deriv=order, axis=0, mode="nearest")
    return slopes


def _rhythm(semitones: Array, level: Array, voiced: NDArray[np.bool_], audible: NDArray[np.bool_]) -> Array:
    """Durations of voiced segments and pauses in frames, and changes between neighbouring frames, (14,)."""
    edges = np.flatnonzero(np.diff(voiced, prepend=False, append=False))
    lengths = np.diff(edges)
    segments, pauses = lengths[::2], lengths[1::2] if len(lengths) > 1 else np.zeros(1)
    n_frames = len(voiced)
    peaks, _ = signal.find_peaks(median_of_five(level), prominence=_PEAK_DB)
    neighbours = voiced[1:] & voiced[:-1]
    leaps, steps = (np.abs(np.diff(track))[neighbours] for track in (semitones, level))
    jitter = leaps[leaps < _LEAP]
    return np.array(
        [
            *(n_frames, voiced.mean(), audible.mean(), len(segments)),
            *(segments.mean(), segments.std(), segments.max(), pauses.mean(), pauses.max()),
            len(peaks) / n_frames,
            *(_median(jitter), 1 - len(jitter) / max(len(leaps), 1)),
            *(_median(steps), steps.sum() / max(len(steps), 1)),
        ]
    )


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _modulations(log_mel: Array, frame_rate: float) -> Array:
    """Logarithmic modulation spectrum: magnitude in seven ranges of 16 groups of mel bands, (16 * 7,)."""
    groups = log_mel.reshape(len(log_mel), _MODULATION_BANDS, -1).mean(axis=2)
    length = max(_LEAST_TRANSFORM, fft.next_fast_len(len(groups), real=True))
    magnitudes = np.abs(fft.rfft(groups - groups.mean(axis=0), length, axis=0)) / np.sqrt(len(groups))
    hertz = fft.rfftfreq(length, 1 / frame_rate)
    ranges = [(hertz >= lowest) & (hertz < highest) for lowest, highest in pairwise(_MODULATION_HZ)]
    means = [magnitudes[inside].mean(axis=0) for inside in ranges]
    return np.log(np.concatenate(means) + 1e-3)
