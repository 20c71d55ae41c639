"""The answer for one recording: the probability of each class, of the whole and over time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import is_far_beyond_full_scale
from marsbench.deployment.novelty import UNLIKE


@dataclass(frozen=True)
class Window:
    """A stretch of a recording with the probability of each class."""

    start: float
    """In seconds."""
    end: float
    """In seconds."""
    probabilities: NDArray[np.float64]
    """(n_classes,)."""
    novelty: float | None = None
    """As in `Prediction`."""


@dataclass(frozen=True)
class Prediction:
    """The probability of each class, of the whole recording and over time."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(n_classes,); the mean over windows."""
    windows: tuple[Window, ...]
    """In order; a single one for a recording about as long as the training clips."""
    seconds: float
    is_narrowband: bool
    """Whether its sample rate is lower than that of any training clip, which may change the prediction."""
    peak: float = 0.0
    """Largest absolute sample, where full scale is 1."""
    novelty: float | None = None
    """Share of the training clips that are nearer to those of other speakers than this recording is, from 0
    to 1; the median over windows. None if the bundle does not measure it."""

    @property
    def is_unlike(self) -> bool | None:
        """Whether it is unlike the training clips: its novelty is above 0.99; None if that is not known."""
        return None if self.novelty is None else self.novelty > UNLIKE

    @property
    def is_far_beyond_full_scale(self) -> bool:
        """Whether the samples are probably integers that were stored as floats, unscaled."""
        return is_far_beyond_full_scale(self.peak)

    @property
    def label(self) -> str:
        """The most probable class; the first of several."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """Probability of the most probable class."""
        return float(self.probabilities.max())

    def as_dict(self) -> dict[str, Any]:
        """What `bench predict --json` and `bench serve` answer."""
        return {
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": self.by_label(),
            "seconds": self.seconds,
            "is_narrowband": self.is_narrowband,
            "novelty": self.novelty,
            "is_unlike": self.is_unlike,
            "windows": [
                {
                    "start": window.start,
                    "end": window.end,
                    "probabilities": self.by_label(window.probabilities),
                    "novelty": window.novelty,
                }
                for window in self.windows
            ],
        }

    def by_label(self, probabilities: NDArray[np.float64] | None = None) -> dict[str, float]:
        """Probability by class, of the whole or of one window's array."""
        values = self.probabilities if probabilities is None else probabilities
        return dict(zip(self.labels, values.tolist(), strict=True))


def beyond_full_scale(peak: float) -> str:
    """A warning on samples far beyond full scale."""
    return (
        f"the largest sample is {peak:,.3g} times full scale: floats are expected in [-1, 1]; if they are "
        "unscaled integers, divide them by 32768 (16 bits)"
    )
