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
