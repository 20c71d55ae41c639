"""A split of a corpus."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One split: rows of the checked corpus, each sorted."""

    train: Rows
    test: Rows


@dataclass(frozen=True)
class Parts:
    """What a way of splitting makes of a corpus."""

    folds: tuple[Fold, ...]
    notes: tuple[str, ...] = ()
    """Which clips it leaves out, and why."""
