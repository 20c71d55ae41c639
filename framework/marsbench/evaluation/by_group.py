"""Scores of the clips of each speaker, of each value of an attribute, and of about the same confidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np

from marsbench.evaluation.formulas import confusion
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Score
from marsbench.evaluation.scoring import scores_of
from marsbench.protocols.protocol import Rows

_MOST_VALUES = 10
"""Values of an attribute; one with more is left out."""
_FEWEST_CLIPS = 20
"""In a range of confidences; with fewer, a share says little."""


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


@dataclass(frozen=True)
class ConfidenceScores:
    """How often clips were recognised whose most probable class had a probability in one range."""

    above: float
    """Lower end of the range, which is not in it but for 0."""
    up_to: float
    n_clips: int
    accuracy: Score


def by_confidence(predictions: Predictions) -> list[ConfidenceScores]:
    """Accuracy by the probability of the most probable class, in tenths, lowest first.

    A tenth of fewer than 20 clips is joined to the next lower one, the lowest ones to the next higher.

    Args:
        predictions: out-of-fold.
    """
    tenths = np.minimum(np.ceil(10 * predictions.probabilities.max(axis=1)), 10)  # 1 may be 1 + 1e-7
    edges = [10]
    for edge in range(9, 0, -1):
        is_below = tenths <= edge
        if min(is_below.sum(), (tenths[~is_below] <= edges[-1]).sum()) >= _FEWEST_CLIPS:
            edges.append(edge)
    return [
        _of_range(predictions, np.flatnonzero((tenths > above) & (tenths <= up_to)), above, up_to)
        for above, up_to in pairwise([0, *reversed(edges)])
    ]


def _of_range(predictions: Predictions, rows: Rows, above: int, up_to: int) -> ConfidenceScores:
    metric = METRICS["accuracy"]
    score = cast("Score", scores_of(predictions.of_rows(rows), [metric])[metric.name])
    return ConfidenceScores(above / 10, up_to / 10, len(rows), score)
