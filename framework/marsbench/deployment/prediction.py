"""The answer for one recording: the probability of each class, of the whole and over time."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from marsbench.data.audio import is_far_beyond_full_scale
from marsbench.deployment.bundle_record import BaseRecord, Tested
from marsbench.deployment.novelty import UNLIKE
from marsbench.evaluation.by_group import ConfidenceScores


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
    as_sure: ConfidenceScores | None = None
    """Scores of the run's test clips that were answered about as surely. None if the bundle does not know
    them, for a recording unlike the training clips and for one of several windows: test clips were whole."""

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

    @property
    def votes(self) -> dict[str, int]:
        """Number of windows of which a class is the most probable, by class, most first."""
        best = (self.labels[int(window.probabilities.argmax())] for window in self.windows)
        return dict(Counter(best).most_common())

    @property
    def is_mixed(self) -> bool:
        """Whether windows disagree: `label` is the most probable class of fewer than two thirds of them."""
        return 3 * self.votes.get(self.label, 0) < 2 * len(self.windows)

    @property
    def right_when_this_sure(self) -> float | None:
        """Share of `as_sure` that was recognised."""
        return None if self.as_sure is None else self.as_sure.accuracy.value

    def as_dict(self) -> dict[str, Any]:
        """What `bench predict --json` and `bench serve` answer."""
        return {
            "label": self.label,
            "confidence": self.confidence,
            "right_when_this_sure": self.right_when_this_sure,
            "is_mixed": self.is_mixed,
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

    def _repr_html_(self) -> str:
        """A row for each class, for notebooks."""
        row = Markup(
            "<tr><th>{0}</th><td style='width:12em;padding:0'><div style='width:{1:.0f}%;height:.8em;"
            "background:#1f77c9'></div></td><td>{1:.1f} %</td></tr>"
        )
        rows = Markup().join(row.format(label, 100 * share) for label, share in self.by_label().items())
        answer = "mixed" if self.is_mixed else self.label
        return Markup("<table><caption><b>{}</b>, {:.1f} s</caption>{}</table>").format(
            answer, self.seconds, rows
        )


def beyond_full_scale(peak: float) -> str:
    """A warning on samples far beyond full scale."""
    return (
        f"the largest sample is {peak:,.3g} times full scale: floats are expected in [-1, 1]; if they are "
        "unscaled integers, divide them by 32768 (16 bits)"
    )


def csv_rows(predictions: Iterable[tuple[object, Prediction]], record: BaseRecord) -> Iterator[list[object]]:
    """A header and a row for each file with its prediction by the bundle of a record."""
    tested = record.origin.tested if record.origin else [None] * len(Tested._fields)
    shares = [f"p_{label}" for label in record.labels]
    worth = [f"tested_{name}" for name in Tested._fields]
    about = ["is_mixed", "right_when_this_sure"]
    yield ["file", "label", "confidence", *shares, "novelty", "is_unlike", *about, *worth]
    for file, one in predictions:
        shown = [file, one.label, one.confidence, *one.probabilities.tolist(), one.novelty, one.is_unlike]
        yield [*shown, one.is_mixed, one.right_when_this_sure, *tested]
