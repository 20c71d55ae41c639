"""Error analysis: the clips that a run is most wrong about, its scores by speaker and by any attribute."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marsbench.evaluation.formulas import confusion
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Score
from marsbench.evaluation.scoring import scores_of


@dataclass(frozen=True)
class Misclassified:
    """A clip whose most probable class is not its true one."""

    clip: str
    speaker: str | None
    label: str
    predicted: str
    probability: float
    """Probability of the predicted class."""
    of_truth: float
    """Probability of the true class."""


def most_misclassified(predictions: Predictions, n_clips: int = 10) -> list[Misclassified]:
    """The clips with the highest probability of a wrong class, the most probable first."""
    targets, predicted, labels = predictions.targets, predictions.predicted, predictions.labels
    sureness = np.where(predictions.correct, -1.0, predictions.probabilities.max(axis=1))
    rows = [int(row) for row in np.argsort(-sureness, kind="stable")[:n_clips] if sureness[row] >= 0]
    return [
        Misclassified(
            clip=predictions.clips[row],
            speaker=predictions.speakers[row],
            label=labels[targets[row]],
            predicted=labels[predicted[row]],
            probability=float(predictions.probabilities[row, predicted[row]]),
            of_truth=float(predictions.probabilities[row, targets[row]]),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class SpeakerScores:
    """Scores of one speaker's clips."""

    speaker: str
    n_clips: int
    accuracy: float
    recalls: list[float | None]
    """Recall of each class; None for a class of which the speaker has no clips."""


def by_speaker(predictions: Predictions) -> list[SpeakerScores]:
    """Every known speaker, worst accuracy first; empty if no clip names one."""
    rows: dict[str, list[int]] = {}
    for row, speaker in enumerate(predictions.speakers):
        if speaker is not None:
            rows.setdefault(speaker, []).append(row)
    scores = [_scores(speaker, predictions.of_rows(np.array(rows[speaker]))) for speaker in sorted(rows)]
    return sorted(scores, key=lambda entry: entry.accuracy)


def _scores(speaker: str, predictions: Predictions) -> SpeakerScores:
    matrix = confusion(predictions.targets, predictions.probabilities)
    return SpeakerScores(
        speaker=speaker,
        n_clips=len(predictions.clips),
        accuracy=float(matrix.accuracy),
        recalls=[None if np.isnan(recall) else float(recall) for recall in matrix.recall],
    )


@dataclass(frozen=True)
class ValueScores:
    """Scores of the clips that have one value of an attribute."""

    value: str | None
    """None for the clips that name none."""
    n_clips: int
    scores: dict[str, Score]
    """Accuracy and UAR (over the classes that these clips have), with their 95 % intervals."""


def by_value(predictions: Predictions, values: Sequence[str | None]) -> list[ValueScores]:
    """Scores by value of an attribute, in the order of the values; clips without one last.

    Args:
        predictions: out-of-fold.
        values: of each of their clips.
    """
    rows: dict[str | None, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(value, []).append(row)
    in_order = sorted(rows, key=lambda value: (value is None, value or ""))
    return [_of_value(value, predictions.of_rows(np.array(rows[value]))) for value in in_order]


def _of_value(value: str | None, predictions: Predictions) -> ValueScores:
    scores = scores_of(predictions, [METRICS["accuracy"], METRICS["uar"]])
    kept = {name: score for name, score in scores.items() if isinstance(score, Score)}
    return ValueScores(value, len(predictions.clips), kept)
