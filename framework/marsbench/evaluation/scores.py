"""What a set of predictions scores. Records alone, so that reading results imports no arrays."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

_Kind = TypeVar("_Kind", bound="_Record")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(_Record):
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float


class ClassScores(_Record):
    """Scores of one class; its accuracy is its recall."""

    label: str
    n_clips: int
    recall: Score
    precision: float
    f1: float


class FoldScores(_Record):
    """Scores of one fold."""

    fold: int
    n_clips: int
    accuracy: float
    macro_f1: float
    uar: float


class Metrics(_Record):
    """Scores from the pooled out-of-fold predictions, and by fold."""

    accuracy: Score
    macro_f1: Score
    uar: Score
    classes: list[ClassScores]
    confusion: list[list[int]]
    """Rows are true classes, columns predicted ones."""
    folds: list[FoldScores]
    log_loss: float
    """Mean negative natural logarithm of the true class's probability."""
    calibration_error: float
    """Expected calibration error of the most probable class, 15 bins."""

    @property
    def worst(self) -> ClassScores:
        """The class with the lowest recall."""
        return min(self.classes, key=lambda scores: scores.recall.value)


def mean_metrics(metrics: Sequence[Metrics]) -> Metrics:
    """Means over runs of one configuration with different seeds; counts are summed.

    The ends of an interval are means too: other seeds see the same clips, so their scores miss the truth
    together, and more seeds do not narrow what other clips could have given.
    """
    n_classes, n_folds = len(metrics[0].classes), len(metrics[0].folds)
    return _mean(metrics).model_copy(
        update={
            "classes": [_mean([entry.classes[index] for entry in metrics]) for index in range(n_classes)],
            "folds": [_mean([entry.folds[index] for entry in metrics]) for index in range(n_folds)],
            "confusion": [
                [sum(counts) for counts in zip(*rows, strict=True)]
                for rows in zip(*(entry.confusion for entry in metrics), strict=True)
            ],
        }
    )


def _mean(records: Sequence[_Kind]) -> _Kind:
    """The first record with the means of all numbers that are no counts, and of all scores."""
    means: dict[str, Any] = {}
    for name in type(records[0]).model_fields:
        values = [getattr(record, name) for record in records]
        if isinstance(values[0], Score):
            means[name] = _mean(values)
        elif isinstance(values[0], float):
            means[name] = fmean(values)
    return records[0].model_copy(update=means)
