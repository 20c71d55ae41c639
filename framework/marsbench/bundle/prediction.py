"""What a model says to a recording."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """A stretch of a recording with the probability of each class."""

    start: float
    """In seconds."""
    end: float
    probabilities: NDArray[np.float64]
    """(n_classes,)."""


@dataclass(frozen=True)
class Prediction:
    """The probability of each class, of the whole and over time."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(n_classes,); the mean over windows."""
    windows: tuple[Window, ...]
    """In order; a single one for a recording about as long as the clips of training."""
    seconds: float
    lacks_high_tones: bool
    """Whether it was recorded at a lower rate than any clip of training, which may change the answer."""

    @property
    def label(self) -> str:
        """The most probable class; the first of several."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())

    def by_label(self, probabilities: NDArray[np.float64] | None = None) -> dict[str, float]:
        """Probability by class, of the whole or of one window's array."""
        values = self.probabilities if probabilities is None else probabilities
        return dict(zip(self.labels, values.tolist(), strict=True))
