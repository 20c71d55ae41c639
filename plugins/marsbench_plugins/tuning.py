"""How far a clip's pitches stand from the equal-tempered scale at A = 440 Hz."""

import numpy as np
from numpy.typing import NDArray

from marsbench.plugin.features import Floats

_LOWEST_HZ, _HIGHEST_HZ = 150.0, 4000.0
_LEAST_OF_MAXIMUM = np.float32(0.1)
_A0_HZ = 440 / 16
_EDGES = np.linspace(-0.5, 0.5, 101)


def estimate_tuning(power: Floats, sample_rate: int, bins_per_octave: int = 12) -> float:
    """Most frequent deviation of the spectral peaks from the scale, [-0.5, 0.5) steps, resolution 0.01.

    The same estimate as librosa's `estimate_tuning(S=power.T)`: peaks by parabolic interpolation (Smith,
    Spectral Audio Signal Processing), those of at least median height counted. Only the bins that can hold
    a counted peak are looked at, which is what makes it quick.

    Args:
        power: of the STFT, (n_frames, n_bins).
        sample_rate: in Hz.
        bins_per_octave: steps of the scale.

    Returns:
        The deviation; 0 where there is no peak.
    """
    pitches, heights = _peaks(power, sample_rate)
    if not len(pitches):
        return 0.0
    high = pitches[heights >= np.median(heights)]
    deviations = (bins_per_octave * np.log2(high / _A0_HZ)) % 1
    deviations[deviations >= _EDGES[-1]] -= 1
    counts, _ = np.histogram(deviations, _EDGES)
    return float(_EDGES[np.argmax(counts)])


def _peaks(power: Floats, sample_rate: int) -> tuple[Floats, Floats]:
    """Interpolated frequency in Hz and height of each local maximum, (n_peaks,) each."""
    hz_per_bin = sample_rate / (2 * (power.shape[1] - 1))
    frames, bins = _local_maxima(power, hz_per_bin)
    below, here, above = power[frames, bins - 1], power[frames, bins], power[frames, bins + 1]
    shifts = _parabola_shifts(below, here, above)
    heights: Floats = here + np.float32(0.25) * (above - below) * shifts
    pitches: Floats = ((bins + shifts) * hz_per_bin).astype(np.float32)
    return pitches, heights


def _local_maxima(power: Floats, hz_per_bin: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Frame and bin of each maximum above a tenth of its frame's highest value."""
    first = max(1, int(np.ceil(_LOWEST_HZ / hz_per_bin)))
    end = min(int(np.ceil(_HIGHEST_HZ / hz_per_bin)), power.shape[1] - 1)
    here = power[:, first:end]
    loud = here > _LEAST_OF_MAXIMUM * power.max(axis=1, keepdims=True)
    frames, bins = np.nonzero(
        loud & (here > power[:, first - 1 : end - 1]) & (here >= power[:, first + 1 : end + 1])
    )
    return frames, bins + first


def _parabola_shifts(below: Floats, here: Floats, above: Floats) -> Floats:
    """Distance in bins of each parabola's vertex from its middle point; 0 where it would be 1 or more."""
    curvature = (above + below) - 2 * here.astype(np.float64)
    slope = (above - below) / 2
    inside = np.abs(slope) < np.abs(curvature)
    return np.divide(-slope, curvature, out=np.zeros_like(curvature), where=inside).astype(np.float32)
