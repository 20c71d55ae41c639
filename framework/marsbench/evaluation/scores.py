"""What a set of predictions scores. Records alone, so that reading results imports no arrays."""

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

    @property
    def worst(self) -> ClassScores:
        """The class with the lowest recall."""
        return min(self.classes, key=lambda scores: scores.recall.value)
