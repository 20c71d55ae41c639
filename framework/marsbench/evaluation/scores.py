"""What a set of predictions scores. Records alone, so that reading results imports no arrays."""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict


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
    first = metrics[0]
    if len(metrics) == 1:
        return first
    return Metrics(
        accuracy=_mean([entry.accuracy for entry in metrics]),
        macro_f1=_mean([entry.macro_f1 for entry in metrics]),
        uar=_mean([entry.uar for entry in metrics]),
        classes=[
            _mean_class([entry.classes[index] for entry in metrics]) for index in range(len(first.classes))
        ],
        confusion=[
            [sum(counts) for counts in zip(*rows, strict=True)]
            for rows in zip(*(entry.confusion for entry in metrics), strict=True)
        ],
        folds=[_mean_fold([entry.folds[index] for entry in metrics]) for index in range(len(first.folds))],
        log_loss=fmean(entry.log_loss for entry in metrics),
        calibration_error=fmean(entry.calibration_error for entry in metrics),
    )


def _mean(scores: Sequence[Score]) -> Score:
    return Score(
        value=fmean(score.value for score in scores),
        low=fmean(score.low for score in scores),
        high=fmean(score.high for score in scores),
    )


def _mean_class(scores: Sequence[ClassScores]) -> ClassScores:
    return ClassScores(
        label=scores[0].label,
        n_clips=scores[0].n_clips,
        recall=_mean([entry.recall for entry in scores]),
        precision=fmean(entry.precision for entry in scores),
        f1=fmean(entry.f1 for entry in scores),
    )


def _mean_fold(scores: Sequence[FoldScores]) -> FoldScores:
    return FoldScores(
        fold=scores[0].fold,
        n_clips=scores[0].n_clips,
        accuracy=fmean(entry.accuracy for entry in scores),
        macro_f1=fmean(entry.macro_f1 for entry in scores),
        uar=fmean(entry.uar for entry in scores),
    )
