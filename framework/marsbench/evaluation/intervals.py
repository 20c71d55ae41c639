"""95 % intervals by the bootstrap: what other clips, or other speakers, could have given.

Percentile bootstrap (Efron & Tibshirani 1993, ch. 13). Whole speakers are drawn where speakers are known,
since clips of one speaker resemble each other; else single clips. A few speakers cannot show how speakers
differ, and a rate of 0 or 1 has no spread at all: so an interval is never narrower than that of single clips
where there are few speakers, nor, for a share of clips, than Wilson's (1927) score interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from marsbench.evaluation.metrics import Confusion
from marsbench.evaluation.scores import Score

_DRAWS = 2000
_BLOCK = 250
"""Draws at a time: bounds memory."""
_TAILS = (2.5, 97.5)
_Z = 1.959964
_FEW_SPEAKERS = 8


@dataclass(frozen=True)
class Draws:
    """Confusion matrices of resampled corpora, (n_draws, n_classes, n_classes), by each way of drawing."""

    ways: tuple[Confusion, ...]

    def interval(self, value: float, score: str, class_index: int | None = None) -> Score:
        """A score with the hull of its middle 95 % over all ways of drawing.

        Args:
            value: the score itself.
            score: name of a property of `Confusion`.
            class_index: which class, for a score by class.
        """
        bounds = []
        for way in self.ways:
            drawn = getattr(way, score)
            drawn = drawn if class_index is None else drawn[:, class_index]
            bounds.append(np.nanpercentile(drawn, _TAILS))
        low = min(value, *(float(bound[0]) for bound in bounds))
        return Score(value=value, low=low, high=max(value, *(float(bound[1]) for bound in bounds)))


def resample(
    targets: NDArray[np.int64],
    predicted: NDArray[np.int64],
    speakers: Sequence[str | None],
    n_classes: int,
) -> Draws:
    """Draw corpora like this one; the same ones every time.

    Args:
        targets: true classes, (n_clips,).
        predicted: predicted classes, (n_clips,).
        speakers: the speaker of each clip; a clip without one is drawn by itself.
        n_classes: how many classes the corpus has.
    """
    cells = targets * n_classes + predicted
    by_clip = np.arange(len(cells))
    names = [f"clip {row}" if name is None else f"speaker {name}" for row, name in enumerate(speakers)]
    unique, by_speaker = np.unique(np.array(names), return_inverse=True)
    ways = [_drawn(cells, by_speaker, n_classes)]
    if len(unique) < min(_FEW_SPEAKERS, len(cells)):
        ways.append(_drawn(cells, by_clip, n_classes))
    return Draws(tuple(ways))


def widened(score: Score, n_clips: int) -> Score:
    """A share of `n_clips` clips, its interval widened to Wilson's where that reaches further."""
    share, z2 = score.value, _Z * _Z
    centre = (share + z2 / (2 * n_clips)) / (1 + z2 / n_clips)
    half = _Z / (1 + z2 / n_clips) * sqrt(share * (1 - share) / n_clips + z2 / (4 * n_clips**2))
    low, high = max(0.0, min(score.low, centre - half)), min(1.0, max(score.high, centre + half))
    return Score(value=share, low=low, high=high)


def _drawn(cells: NDArray[np.int64], cluster_of: NDArray[np.int64], n_classes: int) -> Confusion:
    """Confusion matrices of as many clusters as there are, drawn with replacement."""
    n_clusters = int(cluster_of.max()) + 1
    by_cluster = np.zeros((n_clusters, n_classes * n_classes), np.int64)
    np.add.at(by_cluster, (cluster_of, cells), 1)
    generator = np.random.default_rng(0)
    even = np.full(n_clusters, 1 / n_clusters)
    blocks = [
        generator.multinomial(n_clusters, even, size=_BLOCK) @ by_cluster for _ in range(_DRAWS // _BLOCK)
    ]
    return Confusion(np.concatenate(blocks).reshape(_DRAWS, n_classes, n_classes))
