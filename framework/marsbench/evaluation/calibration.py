"""How far a model's probabilities can be believed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-15
N_BINS = 15


class Bin(NamedTuple):
    """Clips whose most probable class has about the same probability."""

    confidence: float
    """Their mean probability of that class."""
    accuracy: float
    """Share of them that are right."""
    n_clips: int


def log_loss(targets: NDArray[np.int64], probabilities: NDArray[np.floating]) -> float:
    """Mean negative logarithm of the true class's probability, natural, as scikit-learn's `log_loss`.

    It is computed in float64, whatever the probabilities are stored as.

    Args:
        targets: true classes, (n_clips,).
        probabilities: (n_clips, n_classes), rows summing to 1.
    """
    exact = probabilities.astype(np.float64)
    own = exact[np.arange(len(targets)), targets] / exact.sum(axis=1)
    return float(-np.log(np.clip(own, _LEAST, 1 - _LEAST)).mean())


def reliability(
    targets: NDArray[np.int64], probabilities: NDArray[np.floating], n_bins: int = N_BINS
) -> list[Bin]:
    """Confidence against accuracy, in equal bins that include their upper edge; empty ones are left out.

    Guo et al. (2017), On calibration of modern neural networks, section 2.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    # Rounded as the confidences are: 0.4 is on the edge of its bin in float32 too.
    edges = (np.arange(1, n_bins) / n_bins).astype(confidence.dtype)
    number = np.searchsorted(edges, confidence)
    return [
        Bin(float(confidence[rows].mean(dtype=np.float64)), float(right[rows].mean()), int(rows.sum()))
        for rows in (number == index for index in range(n_bins))
        if rows.any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error: mean of |accuracy - confidence| over clips (Guo et al. 2017, eq. 3)."""
    n_clips = sum(entry.n_clips for entry in bins)
    return sum(entry.n_clips * abs(entry.accuracy - entry.confidence) for entry in bins) / n_clips
