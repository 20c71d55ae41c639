"""Formulas of the metrics: scores of predicted classes, and how far probabilities can be believed."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rates = NDArray[np.float64]
_LEAST = 1e-15
"""Smaller probabilities count as this one."""
N_BINS = 15


@dataclass(frozen=True)
class Confusion:
    """The sums of a confusion matrix that metrics are made of, of one matrix or of many.

    Leading axes are separate matrices; every score has their shape. A class without clips has no recall and
    no F1 (NaN), and macro means leave it out; a class that was never predicted has precision 0. The accuracy
    of one class is its recall, and is called so. Single cells are not kept: of thousands of resampled corpora
    with hundreds of classes they would take gigabytes.
    """

    sums: NDArray[np.int64]
    """Correctly predicted clips, clips, and predictions of each class, (..., 3, n_classes)."""

    @property
    def accuracy(self) -> Rates:
        """Share of clips whose class is predicted correctly, (...)."""
        return _ratio(self._right.sum(axis=-1), self.n_clips.sum(axis=-1))

    @cached_property
    def recall(self) -> Rates:
        """Share of each true class that is predicted correctly, (..., n_classes)."""
        return _ratio(self._right, self.n_clips, np.nan)

    @property
    def precision(self) -> Rates:
        """Share of the predictions of each class that are correct, (..., n_classes)."""
        return _ratio(self._right, self._predicted)

    @property
    def f1(self) -> Rates:
        """Harmonic mean of precision and recall, (..., n_classes)."""
        f1 = _ratio(2 * self._right, self._predicted + self.n_clips)
        return np.where(self.n_clips > 0, f1, np.nan)

    @property
    def macro_f1(self) -> Rates:
        """Mean F1 over the classes that have clips, (...)."""
        return np.asarray(np.nanmean(self.f1, axis=-1))

    @property
    def uar(self) -> Rates:
        """Unweighted average recall over the classes that have clips, (...)."""
        return np.asarray(np.nanmean(self.recall, axis=-1))

    @property
    def n_clips(self) -> NDArray[np.int64]:
        """Clips of each true class, (..., n_classes)."""
        return np.asarray(self.sums[..., 1, :])

    @property
    def _right(self) -> NDArray[np.int64]:
        return np.asarray(self.sums[..., 0, :])

    @property
    def _predicted(self) -> NDArray[np.int64]:
        return np.asarray(self.sums[..., 2, :])


def confusion(targets: NDArray[np.int64], probabilities: NDArray[np.floating]) -> Confusion:
    """Sums of true against most probable classes; ties go to the class that comes first."""
    return confusion_of(targets, probabilities.argmax(axis=1), probabilities.shape[1])


def confusion_of(targets: NDArray[np.int64], predicted: NDArray[np.integer], n_classes: int) -> Confusion:
    """Sums of true against predicted classes, (n_clips,) each."""
    classes = targets[predicted == targets], targets, predicted
    return Confusion(np.array([np.bincount(one, minlength=n_classes) for one in classes]))


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64], otherwise: float = 0.0) -> Rates:
    result = np.full(numerator.shape, otherwise)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


class Bin(NamedTuple):
    """Clips whose most probable class has about the same probability."""

    confidence: float
    """Their mean probability of that class."""
    accuracy: float
    """Share of them that are right."""
    n_clips: int


def log_loss(targets: NDArray[np.int64], probabilities: NDArray[np.floating]) -> float:
    """Mean negative natural logarithm of the true class's probability, as scikit-learn's `log_loss`.

    It is computed in float64 from (n_clips,) and (n_clips, n_classes), whatever they are stored as.
    """
    return float(-log_likelihoods(targets, probabilities).mean())


def log_likelihoods(targets: NDArray[np.int64], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Natural logarithm of the true class's probability of each clip, (n_clips,), as in `log_loss`."""
    exact = probabilities.astype(np.float64)
    own = exact[np.arange(len(targets)), targets] / exact.sum(axis=1)
    return np.asarray(np.log(np.clip(own, _LEAST, 1 - _LEAST)), np.float64)


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
