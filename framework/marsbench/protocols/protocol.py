"""What a protocol is: by name, and applied to a corpus."""

from collections.abc import Callable
from dataclasses import dataclass

from marsbench.data.corpus import CheckedCorpus
from marsbench.protocols.leakage import Leakage
from marsbench.protocols.split import Fold, Parts

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
