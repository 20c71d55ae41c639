"""95 % bootstrap intervals: how a score varies with the choice of clips or speakers.

Whole speakers are drawn where speakers are known, since clips of one speaker resemble each other; else single
clips. The percentiles are expanded (Hesterberg 2015, The American Statistician 69, section 5): plain ones are
as much too narrow for a few speakers as a normal interval is beside Student's. Simulated corpora of 24
speakers hold the truth in 93 to 96 % of intervals so, in 92 to 94 % with plain percentiles.

A few speakers cannot show how speakers differ, and a rate of 0 or 1 has no spread at all: so an interval is
never narrower than that of single clips where there are few speakers, nor, for a share of clips, than
Wilson's (1927) score interval.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from marsbench.evaluation.confusion import Confusion, Rates
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Score

_DRAWS = 2000
_BLOCK = 250
"""Draws at a time: bounds memory."""
_TAIL = 0.025
_Z = 1.959964
_FEW_SPEAKERS = 8
Scored = Callable[[Confusion], Rates]
"""A score of each matrix: (..., n_classes, n_classes) -> (...), or (..., n_classes) for one by class."""


@dataclass(frozen=True)
class Way:
    """Confusion matrices of resampled corpora, (n_draws, n_classes, n_classes), by one way of drawing."""

    confusion: Confusion
    n_clusters: int
    """Speakers or clips that were drawn."""


@dataclass(frozen=True)
class Draws:
    """Resampled corpora, by each way of drawing."""

    ways: tuple[Way, ...]

    def interval(self, value: float, score: Scored, class_index: int | None = None) -> Score:
        """A score with the hull of its middle 95 % over all ways of drawing.

        Args:
            value: the score itself.
            score: gives it for each confusion matrix.
            class_index: which class, for a score by class.
        """
        bounds = []
        for way in self.ways:
            drawn = score(way.confusion)
            drawn = drawn if class_index is None else drawn[:, class_index]
            bounds.append(percentiles(drawn, way.n_clusters))
        return Score(
            value=value,
            low=min(value, *(low for low, _ in bounds)),
            high=max(value, *(high for _, high in bounds)),
        )

    def exceeds(self, score: Scored, threshold: float, class_index: int | None = None) -> NDArray[np.bool_]:
        """Whether a score exceeds a threshold, for each draw of each way; one that is NaN does not."""
        drawn = np.concatenate([score(way.confusion) for way in self.ways])
        return np.asarray((drawn if class_index is None else drawn[:, class_index]) > threshold)


def resample(predictions: Predictions) -> Draws:
    """Draw corpora like that of the predictions; the same ones every time.

    Whole speakers are drawn; a clip without one is drawn by itself.
    """
    n_classes = predictions.n_classes
    cells = predictions.targets * n_classes + predictions.predicted
    return Draws(tuple(_way(cells, clusters, n_classes) for clusters in ways_to_draw(predictions.speakers)))


def ways_to_draw(speakers: Sequence[str | None]) -> list[NDArray[np.int64]]:
    """Cluster of each clip by each way of drawing: by speaker, and by clip where there are few speakers."""
    names = [f"clip {row}" if name is None else f"speaker {name}" for row, name in enumerate(speakers)]
    unique, by_speaker = np.unique(np.array(names), return_inverse=True)
    by_clip = np.arange(len(names))
    return [by_speaker, by_clip] if len(unique) < min(_FEW_SPEAKERS, len(names)) else [by_speaker]


def weights(n_clusters: int) -> Iterator[NDArray[np.int64]]:
    """How often each cluster is drawn, (n_block, n_clusters), blocks of draws; the same ones every time."""
    generator = np.random.default_rng(0)
    even = np.full(n_clusters, 1 / n_clusters)
    for _ in range(_DRAWS // _BLOCK):
        yield generator.multinomial(n_clusters, even, size=_BLOCK)


def counts_by_cluster(
    cells: NDArray[np.int64], cluster_of: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """Clips of each cluster in each cell of the confusion matrix, (n_clusters, n_classes ** 2)."""
    counts = np.zeros((int(cluster_of.max()) + 1, n_classes * n_classes), np.int64)
    np.add.at(counts, (cluster_of, cells), 1)
    return counts


def percentiles(drawn: NDArray[np.float64], n_clusters: int) -> tuple[float, float]:
    """Ends of the middle 95 %, expanded for few clusters; draws that are NaN do not count."""
    from scipy.special import ndtr, stdtrit

    tail = _TAIL
    if n_clusters > 1:
        tail = float(ndtr(sqrt(n_clusters / (n_clusters - 1)) * stdtrit(n_clusters - 1, _TAIL)))
    low, high = np.nanpercentile(drawn, (100 * tail, 100 * (1 - tail)))
    return float(low), float(high)


def wilson_floor(score: Score, n_clips: int) -> Score:
    """A share of `n_clips` clips, its interval widened to Wilson's where that reaches further."""
    share, z2 = score.value, _Z * _Z
    centre = (share + z2 / (2 * n_clips)) / (1 + z2 / n_clips)
    half = _Z / (1 + z2 / n_clips) * sqrt(share * (1 - share) / n_clips + z2 / (4 * n_clips**2))
    low, high = max(0.0, min(score.low, centre - half)), min(1.0, max(score.high, centre + half))
    return Score(value=share, low=low, high=high)


def _way(cells: NDArray[np.int64], cluster_of: NDArray[np.int64], n_classes: int) -> Way:
    """Confusion matrices of as many clusters as there are, drawn with replacement."""
    by_cluster = counts_by_cluster(cells, cluster_of, n_classes)
    drawn = np.concatenate([block @ by_cluster for block in weights(len(by_cluster))])
    return Way(Confusion(drawn.reshape(_DRAWS, n_classes, n_classes)), len(by_cluster))
