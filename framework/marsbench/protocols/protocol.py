"""What a protocol is: by name, and applied to a corpus."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus

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


@dataclass(frozen=True)
class Leakage:
    """What the folds of a protocol share, and what was done lest they share a recording."""

    speakers_shared: int = 0
    """How many speakers stand on both sides of a fold."""
    statements_shared: int = 0
    exact_groups: tuple[tuple[str, ...], ...] = ()
    """Clips of the same audio, sample by sample, that stand together on one side of every fold."""
    near_groups: tuple[tuple[str, ...], ...] = ()
    """The same of clips that are one recording, of which one at least was changed."""
    dropped: tuple[tuple[int, str], ...] = ()
    """Fold, counted from 0, and clip: left out of that fold's training, being a copy of a test clip of it."""


METRICS_VERSION = 1
"""Raised when the same predictions would get other scores; part of every protocol hash."""


@dataclass(frozen=True)
class Definition:
    """What a protocol's name, or its file, stands for."""

    name: str
    description: str
    by_speaker: bool
    """Whether no speaker stands on both sides; a fold's training clips are then split by speaker too."""
    split: Callable[[CheckedCorpus], Parts]
    source: str = ""
    """Who published it, and where."""


@dataclass(frozen=True)
class Protocol:
    """A protocol applied to a corpus."""

    name: str
    description: str
    source: str
    by_speaker: bool
    folds: tuple[Fold, ...]
    hash: str
    """Covers corpus, class order, splits and metrics; only equal hashes may be compared."""
    leakage: Leakage
    notes: tuple[str, ...]
