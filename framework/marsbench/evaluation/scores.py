"""Scores of a set of predictions as they are stored, and whether they are good enough.

Imports no arrays: listing results stays fast.
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from operator import attrgetter
from statistics import fmean
from typing import Literal, NamedTuple, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from marsbench.config import Criteria

Outcome = Literal["pass", "fail", "undecided"]
_Kind = TypeVar("_Kind", bound="StoredRecord")
GRADED = ("accuracy", "macro_f1")
"""The metrics that criteria set a threshold for, each under its own name."""


_LARGE_BIAS, _FEW_CLIPS = 0.02, 300
MOST_CLASSES = 40
"""Classes whose confusion matrix can be read as a whole."""


class StoredRecord(BaseModel):
    """What is kept in a file; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(StoredRecord):
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def interval_phrase(self) -> str:
        """The interval of a share, in %."""
        return f"{100 * self.low:.1f} to {100 * self.high:.1f}"

    @property
    def phrase(self) -> str:
        """A share in % with its interval."""
        return f"{100 * self.value:.1f} ({self.interval_phrase})"


class ChosenScore(StoredRecord):
    """The ranking metric of what was chosen from several for its scores, corrected for that."""

    measured: Score
    corrected: Score
    """Less what the choice is expected to have added; the interval is moved by as much."""
    n_candidates: int
    n_clips: int

    @classmethod
    def of(cls, measured: Score, bias: float, n_candidates: int, n_clips: int) -> Self:
        """From the expected excess of a score, a share, over the truth; see `selection_bias`."""
        moved = {name: min(1.0, max(0.0, end - bias)) for name, end in measured}
        return cls(measured=measured, corrected=Score(**moved), n_candidates=n_candidates, n_clips=n_clips)

    @property
    def bias(self) -> float:
        """What the choice is expected to have added."""
        return self.measured.value - self.corrected.value

    @property
    def is_doubtful(self) -> bool:
        """Whether chance had much to say: the correction is large, or the clips are few."""
        return self.bias > _LARGE_BIAS or self.n_clips < _FEW_CLIPS


Scores = dict[str, Score | float]
"""Metrics by name: a `Score` where a metric has an interval, else its value."""


class ClassScores(StoredRecord):
    """Scores of one class; its accuracy is its recall."""

    label: str
    n_clips: int
    n_speakers: int | None = None
    """Known speakers of its clips; None in older records."""
    recall: Score
    precision: float
    f1: float


class Confused(NamedTuple):
    """Clips of one class that are taken for another."""

    label: str
    predicted: str
    n_clips: int
    share: float
    """The same as a share of the clips of `label`."""


class FoldScores(StoredRecord):
    """Scores of one fold, by the name of the metric; older records lack those of probabilities."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    fold: int
    """Counted from 0."""
    n_clips: int

    @property
    def scores(self) -> dict[str, float]:
        """Every metric that was recorded, by its name."""
        return self.__pydantic_extra__


class Metrics(StoredRecord):
    """Scores of the pooled out-of-fold predictions, by metric and by fold.

    Beside the fields there is one key for each metric, so that a metric more needs no change here: a `Score`
    where it has an interval, else its value. A record that was written before a metric was added lacks it.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: Scores

    classes: list[ClassScores]
    confusion: list[list[int]]
    """Rows are true classes, columns predicted ones."""
    folds: list[FoldScores]

    @model_validator(mode="after")
    def _has_what_is_graded(self) -> Self:
        for name in GRADED:
            if not isinstance(self.scores.get(name), Score):
                raise ValueError(f"{name} is missing")  # noqa: TRY004 - pydantic reports ValueError alone
        return self

    def __getitem__(self, metric: str) -> Score:
        """A metric with its interval; raises KeyError if the record has none of that name."""
        score = self.scores[metric]
        if not isinstance(score, Score):
            raise KeyError(f"{metric} has no interval")
        return score

    @property
    def scores(self) -> Scores:
        """Every metric that was recorded, by its name."""
        return self.__pydantic_extra__

    def value(self, metric: str) -> float | None:
        """A metric without its interval; None if it was not recorded."""
        score = self.scores.get(metric)
        return score.value if isinstance(score, Score) else score

    @property
    def n_clips(self) -> int:
        """How many clips were tested."""
        return sum(entry.n_clips for entry in self.classes)

    def most_confused(self, labels: Sequence[str] = (), most: int = 20) -> list[Confused]:
        """The pairs of classes with the most clips; [] unless the matrix has too many classes to be shown.

        `labels` are those of the matrix, where not all of them were tested.
        """
        labels = labels or [entry.label for entry in self.classes]
        if len(labels) <= MOST_CLASSES:
            return []
        cells = (
            Confused(labels[row], labels[column], count, count / sum(counts))
            for row, counts in enumerate(self.confusion)
            for column, count in enumerate(counts)
            if count and column != row
        )
        return nlargest(most, cells, key=attrgetter("n_clips", "share"))

    @property
    def worst(self) -> ClassScores:
        """The class with the lowest recall."""
        return min(self.classes, key=lambda scores: scores.recall.value)


def mean_metrics(metrics: Sequence[Metrics]) -> Metrics:
    """Means over runs of one configuration with different seeds; counts are summed.

    The ends of an interval are means too: all seeds see the same clips, so more seeds do not narrow it.
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
    """The first record with the means of all numbers that are no counts, and of all scores.

    A metric that one of the records lacks is left out.
    """
    # Neither pydantic's iteration nor its check of fields: a folder of thousands of runs takes means of each.
    tables = [{**vars(record), **(record.__pydantic_extra__ or {})} for record in records]
    shared = set.intersection(*map(set, tables))
    means = tables[0].copy()
    for name, first in tables[0].items():
        if name not in shared:
            del means[name]
        elif isinstance(first, Score):
            means[name] = _mean([table[name] for table in tables])
        elif isinstance(first, float):
            means[name] = fmean([table[name] for table in tables])
    return type(records[0]).model_construct(**means)


class Grade(StoredRecord):
    """One criterion's threshold, the score against it, and what follows."""

    criterion: str
    threshold: float
    score: Score
    reached: bool
    """Whether the score itself exceeds the threshold."""
    outcome: Outcome
    """pass or fail only if the whole interval is on one side of the threshold, and pass only if nothing keeps
    the interval from being believed."""
    confidence: float | None = Field(default=None, validation_alias=AliasChoices("confidence", "probability"))
    """How sure it is that the score exceeds the threshold, as sure as the outcome allows; None if not known.

    Older records call it `probability`.
    """

    @field_validator("confidence")
    @classmethod
    def _agrees(cls, value: float | None, info: ValidationInfo) -> float | None:
        return agreeing(value, info.data.get("outcome"))


_CONFIDENCE: dict[Outcome, tuple[float, float]] = {
    "pass": (0.975, 1.0),
    "undecided": (0.025, 0.975),
    "fail": (0.0, 0.025),
}


def agreeing(confidence: float | None, outcome: Outcome | None) -> float | None:
    """How sure something is, cut to what its outcome allows: intervals may be wider than the draws alone."""
    if confidence is None or outcome is None:
        return confidence
    low, high = _CONFIDENCE[outcome]
    return min(max(confidence, low), high)


def least_sure(grades: Iterable[Grade]) -> Grade | None:
    """The weakest criterion, by its confidence; None if no confidence is known."""
    graded = (entry for entry in grades if entry.confidence is not None)
    return min(graded, key=lambda entry: entry.confidence or 0.0, default=None)


def least_confidence(grades: Sequence[Grade]) -> float | None:
    """How sure it is that the weakest criterion is met: what the verdict follows; None if not known."""
    return weakest.confidence if (weakest := least_sure(grades)) else None


def growth_for_pass(grades: Sequence[Grade]) -> float | None:
    """How many times as many speakers or clips it would take for a pass at these scores.

    An interval narrows with the root of their number: ((value - low) / (value - threshold)) ** 2, the largest
    over the criteria. None if every interval is above its threshold, or some score is not.
    """
    open_ = [entry for entry in grades if entry.score.low <= entry.threshold]
    if not open_ or not all(entry.reached for entry in grades):
        return None
    margins = (((one.score.value - one.score.low), (one.score.value - one.threshold)) for one in open_)
    return max((reach / margin) ** 2 for reach, margin in margins)


def grade(
    metrics: Metrics,
    criteria: Criteria,
    confidences: Mapping[str, float | None] | None = None,
    limits: Sequence[str] = (),
) -> list[Grade]:
    """Hold metrics against every criterion, the recall of each class by itself.

    Args:
        metrics: scores with their intervals.
        criteria: thresholds.
        confidences: how sure it is that each criterion is met, by its name.
        limits: reasons why intervals cannot be believed; if there is any, no criterion passes.
    """
    asked = [
        *((name, float(getattr(criteria, name)), metrics[name]) for name in GRADED),
        *((f"class_recall {c.label}", criteria.class_recall, c.recall) for c in metrics.classes),
    ]
    grades = [_grade(*entry, (confidences or {}).get(entry[0])) for entry in asked]
    return list(map(at_most_undecided, grades)) if limits else grades


def at_most_undecided(entry: Grade) -> Grade:
    """The grade of a criterion whose interval cannot be believed: it may fail, but not pass."""
    outcome: Outcome = "undecided" if entry.outcome == "pass" else entry.outcome
    return entry.model_copy(update={"outcome": outcome, "confidence": None})


def verdict(grades: list[Grade]) -> Outcome:
    """Fail if any criterion fails, pass if all pass, else undecided."""
    outcomes = {entry.outcome for entry in grades}
    if "fail" in outcomes:
        return "fail"
    return "undecided" if "undecided" in outcomes else "pass"


def _grade(criterion: str, threshold: float, score: Score, confidence: float | None) -> Grade:
    outcome: Outcome = "undecided"
    if score.low > threshold:
        outcome = "pass"
    elif score.high <= threshold:
        outcome = "fail"
    return Grade(
        criterion=criterion,
        threshold=threshold,
        score=score,
        reached=score.value > threshold,
        outcome=outcome,
        confidence=confidence,
    )
