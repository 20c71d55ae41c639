"""Scores of the clips of each speaker, and of each value of an attribute of the corpus."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marsbench.evaluation.formulas import confusion
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Score
from marsbench.evaluation.scoring import scores_of

_MOST_VALUES = 10
"""Of an attribute; one with more is left out."""


@dataclass(frozen=True)
class SpeakerScores:
    """Scores of one speaker's clips."""

    speaker: str
    n_clips: int
    accuracy: float
    recalls: list[float | None]
    """Recall of each class; None for a class of which the speaker has no clips."""


def _grouped(predictions: Predictions, keys: Iterable[str | None]) -> dict[str | None, Predictions]:
    """The predictions of the clips of each key."""
    rows: dict[str | None, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return {key: predictions.of_rows(np.array(found)) for key, found in rows.items()}


def by_speaker(predictions: Predictions) -> list[SpeakerScores]:
    """Every known speaker, worst accuracy first; empty if no clip names one."""
    scores = []
    for speaker, clips in _grouped(predictions, predictions.speakers).items():
        if speaker is not None:
            matrix = confusion(clips.targets, clips.probabilities)
            recalls = [None if np.isnan(recall) else float(recall) for recall in matrix.recall]
            scores.append(SpeakerScores(speaker, len(clips.clips), float(matrix.accuracy), recalls))
    return sorted(scores, key=lambda entry: (entry.accuracy, entry.speaker))


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
    found = []
    for value, clips in _grouped(predictions, values).items():
        scores = scores_of(clips, [METRICS["accuracy"], METRICS["uar"]])
        kept = {name: score for name, score in scores.items() if isinstance(score, Score)}
        found.append(ValueScores(value, len(clips.clips), kept))
    return sorted(found, key=lambda entry: (entry.value is None, entry.value or ""))


def by_attributes(
    predictions: Predictions, attributes: Mapping[str, Mapping[str, str]]
) -> dict[str, list[ValueScores]]:
    """Scores by value of each attribute that has 2 to 10 values.

    Args:
        predictions: out-of-fold.
        attributes: what is known of each clip, by its id.
    """
    clips = [attributes.get(clip, {}) for clip in predictions.clips]
    columns = {name: [clip.get(name) for clip in clips] for name in sorted(set().union(*clips))}
    return {
        name: by_value(predictions, values)
        for name, values in columns.items()
        if 1 < len(set(values)) <= _MOST_VALUES
    }
