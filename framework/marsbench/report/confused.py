"""The clips that a run got wrong with most confidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marsbench.report.outcomes import Outcomes


@dataclass(frozen=True)
class Confused:
    """One clip taken for another class."""

    clip: str
    speaker: str | None
    label: str
    predicted: str
    probability: float
    """Of the predicted class."""
    of_truth: float
    """Probability of the true class."""


def most_confused(outcomes: Outcomes, labels: Sequence[str], n_clips: int = 10) -> list[Confused]:
    """The clips with the highest probability of a wrong class, the surest error first."""
    targets, predicted = outcomes.targets, outcomes.predicted
    sureness = np.where(predicted == targets, -1.0, outcomes.probabilities.max(axis=1))
    rows = [int(row) for row in np.argsort(-sureness, kind="stable")[:n_clips] if sureness[row] >= 0]
    return [
        Confused(
            clip=outcomes.clips[row],
            speaker=outcomes.speakers[row],
            label=labels[targets[row]],
            predicted=labels[predicted[row]],
            probability=float(outcomes.probabilities[row, predicted[row]]),
            of_truth=float(outcomes.probabilities[row, targets[row]]),
        )
        for row in rows
    ]
