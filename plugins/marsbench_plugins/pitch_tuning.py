"""Estimate the tuning of a clip: the deviation of its pitches from the equal-tempered scale."""

import numpy as np
from numpy.typing import NDArray

from marsbench.plugin.features import Floats
from marsbench_plugins.filter_banks import A0_HZ

LOWEST_HZ, HIGHEST_HZ = 150.0, 4000.0
LEAST_OF_MAXIMUM = np.float32(0.1)
EDGES = np.linspace(-0.5, 0.5, 101)


def estimate_tuning(power: Floats, sample_rate: int, bins_per_octave: int = 12) -> float:
    """Most frequent deviation of the spectral peaks from the scale with A = 440 Hz.

    The same estimate as librosa's `estimate_tuning(S=power.T)`: a histogram of peaks of at least median
    height, located by parabolic interpolation (Smith, Spectral Audio Signal Processing). It is faster as only
    bins in the frequency range of the peaks are searched.

    Args:
        power: power spectrum, (n_frames, n_bins).
        sample_rate: in Hz.
        bins_per_octave: steps of the scale per octave.

    Returns:
        Deviation in steps of the scale, from -0.5 to 0.49 with a resolution of 0.01; 0 without peaks.
    """
    pitches, heights = _peaks(power, sample_rate)
    if not len(pitches):
        return 0.0
    high = pitches[heights >= np.median(heights)]
    deviations = (bins_per_octave * np.log2(high / A0_HZ)) % 1
    deviations[deviations >= EDGES[-1]] -= 1
    counts, _ = np.histogram(deviations, EDGES)
    return float(EDGES[np.argmax(counts)])


def _peaks(power: Floats, sample_rate: int) -> tuple[Floats, Floats]:
    """Interpolated frequency in Hz and height of each local maximum, (n_peaks,) each."""
    n_bins = power.shape[1]
    hz_per_bin = sample_rate / (2 * (n_bins - 1))
    places = _local_maxima(power, hz_per_bin)
    flat = power.ravel()
    below, here, above = flat[places - 1], flat[places], flat[places + 1]
    shifts = _parabola_shifts(below, here, above)
    heights: Floats = here + np.float32(0.25) * (above - below) * shifts
    pitches: Floats = ((places % n_bins + shifts) * hz_per_bin).astype(np.float32)
    return pitches, heights


def _local_maxima(power: Floats, hz_per_bin: float) -> NDArray[np.intp]:
    """Indices into `power.ravel()` of local maxima above a tenth of their frame's maximum, (n_peaks,)."""
    first = max(1, int(np.ceil(LOWEST_HZ / hz_per_bin)))
    end = min(int(np.ceil(HIGHEST_HZ / hz_per_bin)), power.shape[1] - 1)
    here = power[:, first:end]
    is_peak = here > LEAST_OF_MAXIMUM * power.max(axis=1, keepdims=True)
    is_peak &= here > power[:, first - 1 : end - 1]
    is_peak &= here >= power[:, first + 1 : end + 1]
    frames, bins = np.divmod(np.flatnonzero(is_peak), here.shape[1])
    places: NDArray[np.intp] = frames * power.shape[1] + first + bins
    return places


def _parabola_shifts(below: Floats, here: Floats, above: Floats) -> Floats:
    """Distance in bins of each parabola's vertex from its middle point; 0 if it would be 1 or more."""
    curvature = (above + below) - 2 * here.astype(np.float64)
    slope = (above - below) / 2
    inside = np.abs(slope) < np.abs(curvature)
    return np.divide(-slope, curvature, out=np.zeros_like(curvature), where=inside).astype(np.float32)
