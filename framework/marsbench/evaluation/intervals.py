"""95 % intervals by the bootstrap: what other clips, or other speakers, could have given.

Percentile bootstrap (Efron & Tibshirani 1993, ch. 13). Whole speakers are drawn where speakers are known,
since clips of one speaker resemble each other; else single clips.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.evaluation.metrics import Confusion
from marsbench.evaluation.scores import Score

_DRAWS = 2000
_BLOCK = 250
"""Draws at a time: bounds memory."""
_TAILS = (2.5, 97.5)


def resampled(
    targets: NDArray[np.int64],
    predicted: NDArray[np.int64],
    clusters: Sequence[str | None],
    n_classes: int,
) -> Confusion:
    """Confusion matrices of resampled corpora, (n_draws, n_classes, n_classes); the same ones every time.

    Args:
        targets: true classes, (n_clips,).
        predicted: predicted classes, (n_clips,).
        clusters: the speaker of each clip; a clip without one is a cluster of its own.
        n_classes: how many classes the corpus has.
    """
    names = [f"clip {row}" if name is None else f"speaker {name}" for row, name in enumerate(clusters)]
    unique, cluster_of = np.unique(np.array(names), return_inverse=True)
    by_cluster = np.zeros((len(unique), n_classes * n_classes), np.int64)
    np.add.at(by_cluster, (cluster_of, targets * n_classes + predicted), 1)
    generator = np.random.default_rng(0)
    even = np.full(len(unique), 1 / len(unique))
    blocks = [
        generator.multinomial(len(unique), even, size=_BLOCK) @ by_cluster for _ in range(_DRAWS // _BLOCK)
    ]
    return Confusion(np.concatenate(blocks).reshape(_DRAWS, n_classes, n_classes))


def interval(value: float, draws: NDArray[np.float64]) -> Score:
    """The score with the middle 95 % of its draws."""
    low, high = np.percentile(draws, _TAILS)
    return Score(value=value, low=min(float(low), value), high=max(float(high), value))
