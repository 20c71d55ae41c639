"""Error analysis: the clips that a run is most wrong about, and its scores speaker by speaker."""

from dataclasses import dataclass

import numpy as np

from marsbench.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Misclassified:
    """One clip taken for another class."""

    clip: str
    speaker: str | None
    label: str
    predicted: str
    probability: float
    """Of the predicted class."""
    of_truth: float
    """Probability of the true class."""


def most_misclassified(predictions: Predictions, n_clips: int = 10) -> list[Misclassified]:
    """The clips with the highest probability of a wrong class, the surest error first."""
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
    """How one speaker's clips fared."""

    speaker: str
    n_clips: int
    accuracy: float
    recalls: list[float | None]
    """By class; None for a class without clips of the speaker."""


def by_speaker(predictions: Predictions) -> list[SpeakerScores]:
    """Every known speaker, worst accuracy first; empty if no clip names one."""
    known = np.array([speaker is not None for speaker in predictions.speakers])
    named = [speaker for speaker in predictions.speakers if speaker is not None]
    if not named:
        return []
    n_classes = predictions.n_classes
    speakers, of_clip = np.unique(np.array(named), return_inverse=True)
    cells = of_clip * n_classes + predictions.targets[known]
    right = predictions.correct[known]
    size, shape = len(speakers) * n_classes, (len(speakers), n_classes)
    clips = np.bincount(cells, minlength=size).reshape(shape)
    hits = np.bincount(cells[right], minlength=size).reshape(shape)
    scores = [
        SpeakerScores(
            speaker=str(speaker),
            n_clips=int(there.sum()),
            accuracy=float(found.sum() / there.sum()),
            recalls=[float(hit / n) if n else None for hit, n in zip(found, there, strict=True)],
        )
        for speaker, there, found in zip(speakers, clips, hits, strict=True)
    ]
    return sorted(scores, key=lambda entry: entry.accuracy)
