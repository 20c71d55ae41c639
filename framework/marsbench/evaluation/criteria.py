"""What is good enough: thresholds, and the verdict on a score with its uncertainty."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from marsbench.config import Criteria
from marsbench.evaluation.scores import GRADED, Metrics, Score

Outcome = Literal["pass", "fail", "undecided"]


class Grade(BaseModel):
    """One criterion's threshold, the score against it, and what follows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    criterion: str
    threshold: float
    score: Score
    reached: bool
    """Whether the score itself exceeds the threshold."""
    outcome: Outcome
    """pass or fail only if the whole interval is on one side of the threshold."""
    probability: float | None = None
    """Share of resampled corpora on which the score exceeds the threshold; None if it was not asked for."""


def grade(metrics: Metrics, criteria: Criteria, odds: Mapping[str, float] | None = None) -> list[Grade]:
    """Hold metrics against every criterion, the recall of each class by itself.

    Args:
        metrics: the scores.
        criteria: the thresholds.
        odds: probability of exceeding the threshold, by criterion.
    """
    asked = [
        *((name, float(getattr(criteria, name)), metrics[name]) for name in GRADED),
        *((f"class_recall {c.label}", criteria.class_recall, c.recall) for c in metrics.classes),
    ]
    return [_grade(*entry, (odds or {}).get(entry[0])) for entry in asked]


def verdict(grades: list[Grade]) -> Outcome:
    """Fail if any criterion fails, pass if all pass, else undecided."""
    outcomes = {entry.outcome for entry in grades}
    if "fail" in outcomes:
        return "fail"
    return "undecided" if "undecided" in outcomes else "pass"


def _grade(criterion: str, threshold: float, score: Score, probability: float | None) -> Grade:
    outcome: Outcome = "undecided"
    if score.low > threshold:
        outcome = "pass"
    elif score.high <= threshold:
        outcome = "fail"
    reached = score.value > threshold
    return Grade(
        criterion=criterion,
        threshold=threshold,
        score=score,
        reached=reached,
        outcome=outcome,
        probability=probability,
    )
