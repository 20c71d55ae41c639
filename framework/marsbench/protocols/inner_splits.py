"""How the training clips of a fold are split again: for early stopping, and to choose a configuration by."""

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.hashing import derived_seed
from marsbench.protocols.groups import first_duplicates, groups_by_speaker, with_duplicates
from marsbench.protocols.protocol import Fold, Rows

_VALIDATION = 0.1
_HOLD_OUT = 0.2


def keep_aside(corpus: CheckedCorpus, train: Rows, by_speaker: bool, seed: int) -> tuple[Rows, Rows]:
    """Part training rows into (fitting, validation), the latter about a tenth: whole speakers or stratified.

    Copies of one recording stay together. With a single speaker, or a class of one recording, the rows are
    split without regard to speakers or classes; a single recording is all for fitting.
    """
    return _held_out(corpus, train, by_speaker, _VALIDATION, derived_seed(seed, "validation"))


def inner_folds(corpus: CheckedCorpus, train: Rows, by_speaker: bool, n_folds: int, seed: int) -> list[Fold]:
    """Split training rows of two recordings or more again, to choose a configuration by.

    `n_folds` folds, or a hold-out of a fifth for 1. Whole speakers where `by_speaker`, classes balanced where
    each has clips for all folds; copies of one recording stay together. There are fewer folds where a class
    or the speakers do not suffice, but two parts at least.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

    split_seed = derived_seed(seed, "inner")
    if n_folds == 1:
        return [Fold(*_held_out(corpus, train, by_speaker, _HOLD_OUT, split_seed))]
    if by_speaker and (n_groups := len(np.unique(groups := groups_by_speaker(corpus, train)))) > 1:
        n_folds = min(n_folds, n_groups)
        is_rich = np.unique(corpus.targets[train], return_counts=True)[1].min() >= n_folds
        kind = StratifiedGroupKFold if is_rich else GroupKFold
        by_group = kind(n_folds, shuffle=True, random_state=split_seed)
        return [Fold(train[a], train[b]) for a, b in by_group.split(train, corpus.targets[train], groups)]
    rows = first_duplicates(corpus, train)
    least = int(np.unique(corpus.targets[rows], return_counts=True)[1].min())
    if least < 2:
        return [Fold(*_balanced(corpus, train, _HOLD_OUT, split_seed))]
    balanced = StratifiedKFold(min(n_folds, least), shuffle=True, random_state=split_seed)
    return [
        Fold(with_duplicates(corpus, rows[a], train), with_duplicates(corpus, rows[b], train))
        for a, b in balanced.split(rows, corpus.targets[rows])
    ]


def _held_out(
    corpus: CheckedCorpus, train: Rows, by_speaker: bool, share: float, seed: int
) -> tuple[Rows, Rows]:
    """Part rows into (fitting, about `share` of them): whole speakers if there are several, or balanced."""
    from sklearn.model_selection import GroupShuffleSplit

    if by_speaker and len(np.unique(groups := groups_by_speaker(corpus, train))) > 1:
        by_group = GroupShuffleSplit(1, test_size=share, random_state=seed)
        fit, aside = next(by_group.split(train, groups=groups))
        return np.sort(train[fit]), np.sort(train[aside])
    return _balanced(corpus, train, share, seed)


def _balanced(corpus: CheckedCorpus, train: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Part rows into (fitting, about `share` of them), stratified unless a class has one recording."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    rows = first_duplicates(corpus, train)
    if len(rows) < 2:
        return train, train[:0]
    _, counts = np.unique(corpus.targets[rows], return_counts=True)
    size = min(max(round(share * len(rows)), len(counts)), len(rows) - 1)
    kind = StratifiedShuffleSplit if counts.min() > 1 and len(rows) - size >= len(counts) else ShuffleSplit
    fit, aside = next(kind(1, test_size=size, random_state=seed).split(rows, corpus.targets[rows]))
    return with_duplicates(corpus, rows[fit], train), with_duplicates(corpus, rows[aside], train)
