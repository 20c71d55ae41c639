"""The types of this package: folds, protocol definitions, and protocols applied to a corpus."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus

METRICS_VERSION = 1
"""Raised when the same predictions would get other scores; part of every protocol hash."""

SPEAKER = ("speaker",)
"""`together` of protocols by speaker."""

Rows = NDArray[np.int64]
"""Sorted indices into the clips of a checked corpus, (n_rows,)."""
_NO_ROWS: Rows = np.empty(0, np.int64)


class Fold:
    """One split into training and test rows, and perhaps `dev` rows.

    Tuning, early stopping and calibration use `dev`, on which nothing trains; where it is empty they divide
    the training rows. These are kept as one bit for each clip: thousands of folds share nearly all of them.
    """

    def __init__(self, train: Rows, test: Rows, dev: Rows = _NO_ROWS) -> None:
        self.test, self.dev = test, dev
        self._is_trained = np.packbits(mask_of(train))

    @property
    def train(self) -> Rows:
        """Training rows, a new array."""
        return np.flatnonzero(np.unpackbits(self._is_trained))

    @property
    def n_train(self) -> int:
        """Number of training rows, counted without an array of them."""
        return int(np.bitwise_count(self._is_trained).sum())


def mask_of(rows: Rows) -> NDArray[np.bool_]:
    """Whether each number up to the largest of `rows` is one of them."""
    mask = np.zeros(int(rows.max(initial=-1)) + 1, bool)
    mask[rows] = True
    return mask


@dataclass(frozen=True)
class Splits:
    """What a protocol's `split` function returns."""

    folds: Iterable[Fold]
    """Made when asked for, if that takes long."""
    notes: tuple[str, ...] = ()
    """Which clips are left out, and why, one line each."""
    together: tuple[str, ...] | None = None
    """Instead of the definition's, on a corpus that lacks what that names."""


@dataclass(frozen=True)
class Definition:
    """A protocol by name, independent of any corpus."""

    name: str
    description: str
    together: tuple[str, ...]
    """Names of attributes: clips that are equal in all of them are never in both train and test, nor on both
    sides of a split of training clips. ("speaker",) by speaker, () for random clips."""
    split: Callable[[CheckedCorpus], Splits]
    source: str = ""
    """The publication that the folds are taken from."""
    is_custom: bool = False
    """Whether it comes from a file of the user's."""
    members: Callable[[Sequence[str]], Sequence[str]] | None = None
    """Names of the protocols that this name stands for, given those of the joined corpora; each makes runs of
    its own. None for a protocol."""

    @property
    def by_speaker(self) -> bool:
        """Whether no speaker is in both train and test."""
        return self.together == SPEAKER


@dataclass(frozen=True)
class Family:
    """Protocols that differ in their number of folds, named NAME2, NAME3, ..."""

    name: str
    define: Callable[[int], Definition]
    """Definition with that many folds, which must be at least 2."""


@dataclass(frozen=True)
class ByName:
    """Protocols that differ in a name of what they split by, such as from_ravdess."""

    prefix: str
    define: Callable[[str], Definition]
    """Definition of the name behind the prefix."""


@dataclass(frozen=True)
class Leakage:
    """What train and test share under a protocol, and how duplicates were kept apart."""

    speakers_shared: int = 0
    """Number of speakers that are in both train and test of some fold."""
    statements_shared: int = 0
    """Number of statements that are in both train and test of some fold."""
    takes_shared: float | None = None
    """Share of test clips with another take of their utterance (`leakage.UTTERANCE`) in the training
    part of their fold, of those whose speaker and statement are known; None if there are none."""
    exact_groups: tuple[tuple[str, ...], ...] = ()
    """Ids of clips with identical audio that are in the same part of every fold, by group."""
    near_groups: tuple[tuple[str, ...], ...] = ()
    """The same for groups of near duplicates."""
    dropped_duplicates: tuple[tuple[int, str], ...] = ()
    """Fold, counted from 0, and id of each clip left out of training as a duplicate of a test clip."""


class FoldCorpora(NamedTuple):
    """The corpora in the two parts of a fold, by name, sorted."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """A protocol applied to a corpus."""

    name: str
    description: str
    source: str
    together: tuple[str, ...]
    """As in its definition."""
    folds: tuple[Fold, ...]
    hash: str
    """sha256 over corpus, class order, splits and metrics; only runs with equal hashes are comparable."""
    leakage: Leakage
    notes: tuple[str, ...]
    """What readers of scores should know, one line each."""
    corpora: tuple[FoldCorpora, ...] = ()
    """By fold; empty unless several corpora were joined."""

    @property
    def by_speaker(self) -> bool:
        """Whether no speaker is in both train and test."""
        return self.together == SPEAKER
