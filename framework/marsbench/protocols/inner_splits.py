"""Split the training clips of a fold again: a validation part for early stopping, inner folds for tuning."""

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.hashing import derived_seed
from marsbench.protocols.protocol import Fold, Rows
from marsbench.protocols.speaker_groups import (
    first_duplicates,
    groups_by_speaker,
    stratified_group_folds,
    with_duplicates,
)

_VALIDATION_SHARE = 0.1
_HOLDOUT_SHARE = 0.2


def validation_split(corpus: CheckedCorpus, train: Rows, by_speaker: bool, seed: int) -> tuple[Rows, Rows]:
    """Split training rows into (fit, validation), the latter about 10 %, by speaker or stratified by class.

    Duplicates stay in one part. With a single speaker the split is stratified; with a class of one recording
    it is random. A single recording leaves validation empty.
    """
    return _holdout(corpus, train, by_speaker, _VALIDATION_SHARE, derived_seed(seed, "validation"))


def inner_folds(corpus: CheckedCorpus, train: Rows, by_speaker: bool, n_folds: int, seed: int) -> list[Fold]:
    """Split the training rows of a fold, at least two recordings, into inner folds for tuning.

    `n_folds` folds, or a holdout of 20 % for 1. Speakers are kept apart if `by_speaker`; classes are balanced
    where each has clips for all folds; duplicates stay in one part. There are fewer folds where a class or
    the speakers do not suffice, but always at least one split.
    """
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    split_seed = derived_seed(seed, "inner")
    if n_folds == 1:
        return [Fold(*_holdout(corpus, train, by_speaker, _HOLDOUT_SHARE, split_seed))]
    if by_speaker and (n_groups := len(np.unique(groups := groups_by_speaker(corpus, train)))) > 1:
        n_folds = min(n_folds, n_groups)
        can_stratify = np.unique(corpus.targets[train], return_counts=True)[1].min() >= n_folds
        if can_stratify:
            pairs = stratified_group_folds(corpus.targets[train], groups, n_folds, split_seed)
        else:
            by_group = GroupKFold(n_folds, shuffle=True, random_state=split_seed)
            pairs = list(by_group.split(train, groups=groups))
        return [Fold(train[a], train[b]) for a, b in pairs]
    rows = first_duplicates(corpus, train)
    least = int(np.unique(corpus.targets[rows], return_counts=True)[1].min())
    if least < 2:
        return [Fold(*_stratified_holdout(corpus, train, _HOLDOUT_SHARE, split_seed))]
    stratified = StratifiedKFold(min(n_folds, least), shuffle=True, random_state=split_seed)
    return [
        Fold(with_duplicates(corpus, rows[a], train), with_duplicates(corpus, rows[b], train))
        for a, b in stratified.split(rows, corpus.targets[rows])
    ]


def _holdout(
    corpus: CheckedCorpus, train: Rows, by_speaker: bool, share: float, seed: int
) -> tuple[Rows, Rows]:
    """Split rows into (fit, about `share` of them), by speaker if there are several, else stratified."""
    from sklearn.model_selection import GroupShuffleSplit

    if by_speaker and len(np.unique(groups := groups_by_speaker(corpus, train))) > 1:
        by_group = GroupShuffleSplit(1, test_size=share, random_state=seed)
        fit, aside = next(by_group.split(train, groups=groups))
        return np.sort(train[fit]), np.sort(train[aside])
    return _stratified_holdout(corpus, train, share, seed)


def _stratified_holdout(corpus: CheckedCorpus, train: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Split rows into (fit, about `share` of them), stratified unless a class has a single recording."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    rows = first_duplicates(corpus, train)
    if len(rows) < 2:
        return train, train[:0]
    _, counts = np.unique(corpus.targets[rows], return_counts=True)
    size = min(max(round(share * len(rows)), len(counts)), len(rows) - 1)
    kind = StratifiedShuffleSplit if counts.min() > 1 and len(rows) - size >= len(counts) else ShuffleSplit
    fit, aside = next(kind(1, test_size=size, random_state=seed).split(rows, corpus.targets[rows]))
    return with_duplicates(corpus, rows[fit], train), with_duplicates(corpus, rows[aside], train)
