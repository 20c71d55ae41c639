"""Recall by speaker."""

from dataclasses import dataclass

import numpy as np

from marsbench.report.outcomes import Outcomes


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
    names = np.array([speaker or "" for speaker in outcomes.speakers], object)
    right = outcomes.predicted == outcomes.targets
    scores = []
    for speaker in sorted({speaker for speaker in outcomes.speakers if speaker}):
        rows = names == speaker
        of_class = [rows & (outcomes.targets == target) for target in range(n_classes)]
        recalls = [float(right[inside].mean()) if inside.any() else None for inside in of_class]
        scores.append(SpeakerScores(speaker, int(rows.sum()), float(right[rows].mean()), recalls))
    return sorted(scores, key=lambda entry: entry.accuracy)
