"""What a run predicted, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from marsbench.errors import ResultsError
from marsbench.results.predictions import class_names, probabilities_of, read_predictions, targets_of
from marsbench.results.store import RunFolder


@dataclass(frozen=True)
class Outcomes:
    """Out-of-fold predictions; rows are clips."""

    clips: list[str]
    speakers: list[str | None]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    """(n_clips, n_classes)."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class, (n_clips,)."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def n_speakers(self) -> int:
        """How many speakers are known."""
        return len({speaker for speaker in self.speakers if speaker is not None})


def read_outcomes(folder: RunFolder, labels: Sequence[str]) -> Outcomes:
    """Read a run's predictions.

    Raises:
        ResultsError: missing, damaged, or not of these classes.
    """
    table = read_predictions(folder.predictions)
    if class_names(table) != list(labels):
        raise ResultsError(f"{folder.predictions} holds other classes than the run")
    try:
        probabilities = probabilities_of(table)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{folder.predictions} holds something else than probabilities") from error
    if not len(table) or not np.isfinite(probabilities).all():
        raise ResultsError(f"{folder.predictions} has no probability for some clip")
    return Outcomes(
        clips=[str(clip) for clip in table["clip"]],
        speakers=[None if pd.isna(speaker) else str(speaker) for speaker in table["speaker"]],
        targets=targets_of(table),
        probabilities=probabilities,
    )


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


def most_misclassified(outcomes: Outcomes, labels: Sequence[str], n_clips: int = 10) -> list[Misclassified]:
    """The clips with the highest probability of a wrong class, the surest error first."""
    targets, predicted = outcomes.targets, outcomes.predicted
    sureness = np.where(predicted == targets, -1.0, outcomes.probabilities.max(axis=1))
    rows = [int(row) for row in np.argsort(-sureness, kind="stable")[:n_clips] if sureness[row] >= 0]
    return [
        Misclassified(
            clip=outcomes.clips[row],
            speaker=outcomes.speakers[row],
            label=labels[targets[row]],
            predicted=labels[predicted[row]],
            probability=float(outcomes.probabilities[row, predicted[row]]),
            of_truth=float(outcomes.probabilities[row, targets[row]]),
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


def by_speaker(outcomes: Outcomes, n_classes: int) -> list[SpeakerScores]:
    """Every known speaker, worst accuracy first; empty if no clip names one."""
    known = np.array([speaker is not None for speaker in outcomes.speakers])
    named = [speaker for speaker in outcomes.speakers if speaker is not None]
    if not named:
        return []
    speakers, of_clip = np.unique(np.array(named), return_inverse=True)
    cells = of_clip * n_classes + outcomes.targets[known]
    right = (outcomes.predicted == outcomes.targets)[known]
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
