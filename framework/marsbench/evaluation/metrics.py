"""Scores from probabilities. Accuracy per class is the recall of that class, and is called so."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rates = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """Counts of (true class, predicted class), int64 (..., n_classes, n_classes).

    Leading axes are separate matrices; every score has their shape. All rates are 0 where their denominator
    is 0, as scikit-learn has them with zero_division=0. Macro means are over all classes of the corpus.
    """

    counts: NDArray[np.int64]

    @property
    def accuracy(self) -> Rates:
        """Share of clips that are right, (...)."""
        return _ratio(self._right.sum(axis=-1), self.counts.sum(axis=(-2, -1)))

    @property
    def recall(self) -> Rates:
        """Share of each true class that is right, (..., n_classes)."""
        return _ratio(self._right, self.counts.sum(axis=-1))

    @property
    def precision(self) -> Rates:
        """Share of each predicted class that is right, (..., n_classes)."""
        return _ratio(self._right, self.counts.sum(axis=-2))

    @property
    def f1(self) -> Rates:
        """Harmonic mean of precision and recall, (..., n_classes)."""
        return _ratio(2 * self._right, self.counts.sum(axis=-2) + self.counts.sum(axis=-1))

    @property
    def macro_f1(self) -> Rates:
        """Mean F1 over classes, (...)."""
        return np.asarray(self.f1.mean(axis=-1))

    @property
    def uar(self) -> Rates:
        """Unweighted average recall, (...)."""
        return np.asarray(self.recall.mean(axis=-1))

    @property
    def _right(self) -> NDArray[np.int64]:
        return np.diagonal(self.counts, axis1=-2, axis2=-1)


def confusion(targets: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Confusion:
    """Count true against most probable classes; ties go to the class that comes first."""
    n_classes = probabilities.shape[1]
    cells = targets * n_classes + probabilities.argmax(axis=1)
    return Confusion(np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes))


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> Rates:
    result = np.zeros(numerator.shape, np.float64)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
