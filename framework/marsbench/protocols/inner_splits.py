"""Splits of the training clips of a fold: a validation part for early stopping, inner folds for tuning.

They keep together what the protocol's folds do.
"""

from collections.abc import Sequence

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.hashing import derived_seed
from marsbench.protocols.protocol import SPEAKER, Fold, Rows
from marsbench.protocols.splitting import (
    balanced_folds,
    first_duplicates,
    groups_by_speaker,
    groups_of,
    recording_folds,
)

_VALIDATION_SHARE = 0.1
_HOLDOUT_SHARE = 0.2


def validation_split(
    corpus: CheckedCorpus, train: Rows, together: Sequence[str], seed: int
) -> tuple[Rows, Rows]:
    """Split training rows into (fit, validation), the latter about 10 %.

    Groups of `together` and duplicates stay in one part; classes are balanced unless groups have several
    classes. A single group is divided like clips without groups. With a class of one recording or group the
    split is random. A single recording leaves validation empty.
    """
    fold = _holdout(corpus, train, together, _VALIDATION_SHARE, derived_seed(seed, "validation"))
    return fold.train, fold.test


def inner_folds(
    corpus: CheckedCorpus, train: Rows, together: Sequence[str], n_folds: int, seed: int
) -> list[Fold]:
    """Split the training rows of a fold, at least two recordings, into inner folds for tuning.

    `n_folds` folds, or a holdout of 20 % for 1. Groups of `together` and duplicates stay in one part; classes
    are balanced where each has clips for all folds. There are fewer folds where a class or the groups do not
    suffice, but always at least one split.
    """
    from sklearn.model_selection import StratifiedKFold

    split_seed = derived_seed(seed, "inner")
    if n_folds == 1:
        return [_holdout(corpus, train, together, _HOLDOUT_SHARE, split_seed)]
    if len(np.unique(groups := _whole_groups(corpus, train, together))) > 1:
        return _inner_group_folds(corpus, train, groups, n_folds, split_seed)
    targets = corpus.targets[first_duplicates(corpus, train)]
    least = int(np.unique(targets, return_counts=True)[1].min())
    if least < 2:
        return [_stratified_holdout(corpus, train, (), _HOLDOUT_SHARE, split_seed)]
    stratified = StratifiedKFold(min(n_folds, least), shuffle=True, random_state=split_seed)
    return recording_folds(corpus, train, stratified.split(targets, targets))


def _whole_groups(corpus: CheckedCorpus, train: Rows, together: Sequence[str]) -> Rows:
    """Group number of each row; all 0 if nothing but duplicates stays together.

    Raises:
        CorpusError: speakers stay together, and one of them is unknown.
    """
    if tuple(together) == SPEAKER:
        return groups_by_speaker(corpus, train)
    return groups_of(corpus, train, together) if together else np.zeros_like(train)


def _inner_group_folds(
    corpus: CheckedCorpus, train: Rows, groups: Rows, n_folds: int, seed: int
) -> list[Fold]:
    from sklearn.model_selection import GroupKFold

    targets = corpus.targets[train]
    n_folds = min(n_folds, len(np.unique(groups)))
    if np.unique(targets, return_counts=True)[1].min() >= n_folds:
        return list(balanced_folds(train, targets, groups, n_folds, seed))
    by_group = GroupKFold(n_folds, shuffle=True, random_state=seed)
    return [Fold(train[a], train[b]) for a, b in by_group.split(train, groups=groups)]


def _holdout(corpus: CheckedCorpus, train: Rows, together: Sequence[str], share: float, seed: int) -> Fold:
    """Hold out about `share` of the rows: whole groups if there are several, by class where each has one."""
    from sklearn.model_selection import GroupShuffleSplit

    if len(np.unique(groups := _whole_groups(corpus, train, together))) < 2:
        return _stratified_holdout(corpus, train, (), share, seed)
    if "label" in together:
        return _stratified_holdout(corpus, train, together, share, seed)
    by_group = GroupShuffleSplit(1, test_size=share, random_state=seed)
    fit, aside = next(by_group.split(train, groups=groups))
    return Fold(np.sort(train[fit]), np.sort(train[aside]))


def _stratified_holdout(
    corpus: CheckedCorpus, train: Rows, together: Sequence[str], share: float, seed: int
) -> Fold:
    """Hold out about `share` of the groups, stratified unless a class has a single one."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    groups = groups_of(corpus, train, together)
    firsts = np.sort(np.unique(groups, return_index=True)[1])
    targets = corpus.targets[train[firsts]]
    if len(targets) < 2:
        return Fold(train, train[:0])
    _, counts = np.unique(targets, return_counts=True)
    size = min(max(round(share * len(targets)), len(counts)), len(targets) - 1)
    can_stratify = counts.min() > 1 and len(targets) - size >= len(counts)
    splitter = (StratifiedShuffleSplit if can_stratify else ShuffleSplit)(
        1, test_size=size, random_state=seed
    )
    _, chosen = next(splitter.split(targets, targets))
    is_aside = np.isin(groups, groups[firsts[chosen]])
    return Fold(train[~is_aside], train[is_aside])
