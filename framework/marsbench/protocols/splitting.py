"""Split clips: which stay together (duplicates, clips of one speaker), and splits of training clips.

What stays together beside duplicates is told by names of attributes, `together`: ("speaker",) for whole
speakers, () for nothing. Clips that are equal in all of them are one group (`groups_of`).
`require_apart` verifies that a protocol's folds keep them together.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import ConfigError, CorpusError
from marsbench.hashing import derived_seed
from marsbench.protocols.protocol import SPEAKER, Fold, Rows

_SEED = 0
_VALIDATION_SHARE = 0.1
_HOLDOUT_SHARE = 0.2


def all_rows(corpus: CheckedCorpus) -> Rows:
    """Every row of the corpus."""
    return np.arange(len(corpus.clips))


def first_duplicates(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """`rows` with only the first of every group of duplicates, sorted: one for each recording."""
    kept = set(rows.tolist())
    for group in corpus.duplicates:
        kept.difference_update([row for row in group if row in kept][1:])
    return np.array(sorted(kept), np.int64)


def recording_folds(corpus: CheckedCorpus, rows: Rows, pairs: Iterable[tuple[Rows, Rows]]) -> list[Fold]:
    """Folds from (train, test) positions of recordings, each with the duplicates of its clips in `rows`."""
    firsts = first_duplicates(corpus, rows)
    return [Fold(*(_with_duplicates(corpus, firsts[part], rows) for part in pair)) for pair in pairs]


def _with_duplicates(corpus: CheckedCorpus, firsts: Rows, rows: Rows) -> Rows:
    chosen, available = set(firsts.tolist()), set(rows.tolist())
    for group in corpus.duplicates:
        if not chosen.isdisjoint(group):
            chosen.update(available.intersection(group))
    return np.array(sorted(chosen), np.int64)


def require_clips(corpus: CheckedCorpus, least: int, protocol: str, rows: Rows) -> None:
    """Raise CorpusError unless every class has `least` different recordings among `rows`."""
    counts = Counter(corpus.targets[first_duplicates(corpus, rows)].tolist())
    for target, label in enumerate(corpus.labels):
        if counts[target] < least:
            found = f"class '{label}' of corpus '{corpus.name}' has {counts[target]} different clips"
            raise CorpusError(f"{protocol} needs {least} clips of every class; {found}")


def groups_by_speaker(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """Group number of each row, equal for equal speakers and for speakers who share a recording, (n_rows,).

    Raises:
        CorpusError: the speaker of one of `rows` is unknown.
    """
    speakers = corpus.speakers
    for row in rows:
        if speakers[row] is None:
            raise CorpusError(
                f"corpus '{corpus.name}' names no speaker for {corpus.clips[row].id}; "
                "use a protocol without speakers"
            )
    return groups_of(corpus, rows, SPEAKER)


def groups_of(corpus: CheckedCorpus, rows: Rows, names: Sequence[str]) -> Rows:
    """Group number of each row, equal for clips that are equal in all of `names` or share a recording.

    A clip that has none of these values is a group of its own, and so is every recording without names.
    """
    keys = [
        joint_value(clip, names) if _has_any(clip, names) else "\0" * len(names) + str(row)
        for row, clip in enumerate(corpus.clips)
    ]
    return _numbers(corpus, keys)[rows]


def _has_any(clip: Clip, names: Iterable[str]) -> bool:
    return any(value_of(clip, name) is not None for name in names)


def _numbers(corpus: CheckedCorpus, keys: Sequence[str]) -> Rows:
    """Group number of each clip, equal for equal keys and for keys that share a recording, (n_clips,)."""
    _, groups = np.unique(np.array(keys, str), return_inverse=True)
    for duplicates in corpus.duplicates:
        shared = groups[list(duplicates)]
        groups[np.isin(groups, shared)] = shared.min()
    return groups


def value_of(clip: Clip, name: str) -> str | None:
    """Id, speaker or label of a clip if `name` is `clip`, `speaker` or `label`, else that attribute."""
    if name == "clip":
        return clip.id
    if name == "label":
        return clip.label
    return clip.speaker if name == "speaker" else clip.attributes.get(name)


def joint_value(clip: Clip, names: Iterable[str]) -> str:
    """One text for all of these values of a clip."""
    return "\0".join(value_of(clip, name) or "" for name in names)


def group_folds(
    corpus: CheckedCorpus,
    rows: Rows,
    groups: Rows | NDArray[np.str_],
    n_folds: int,
    protocol: str,
    what: str,
) -> tuple[Fold, ...]:
    """Split `rows`, of which each is in one of `groups`, at random into folds with balanced classes.

    The protocol's name and `what` the groups are stand in messages.

    Raises:
        CorpusError: a class has fewer than `n_folds` clips, or there are fewer groups.
    """
    require_clips(corpus, n_folds, protocol, rows)
    if (n_groups := len(np.unique(groups))) < n_folds:
        raise CorpusError(f"{protocol} needs {n_folds} {what}; corpus '{corpus.name}' has {n_groups}")
    pairs = _stratified_group_pairs(corpus.targets[rows], groups, n_folds, _SEED)
    return tuple(Fold(np.sort(rows[train]), np.sort(rows[test])) for train, test in pairs)


def _stratified_group_pairs(
    targets: Rows, groups: Rows | NDArray[np.str_], n_folds: int, seed: int
) -> list[tuple[Rows, Rows]]:
    """(train, test) positions of folds of whole groups, classes balanced; no fold is empty.

    StratifiedGroupKFold may leave a fold empty where few groups have very different numbers of clips. The
    groups are then divided by their sizes alone.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    pairs = list(splitter.split(targets, targets, groups))
    if not all(len(test) for _, test in pairs):
        pairs = list(GroupKFold(n_folds).split(targets, targets, groups))
    return pairs


def require_apart(name: str, corpus: CheckedCorpus, folds: Sequence[Fold], together: Sequence[str]) -> None:
    """Verify that no speaker, or no other group of equal values, is in both train and test of a fold.

    Raises:
        CorpusError: speakers stay together, and a clip without a known speaker is used.
        ConfigError: a group is in both; names it and the fold.
    """
    used = np.unique(np.concatenate([rows for fold in folds for rows in (fold.train, fold.test)]))
    if tuple(together) == SPEAKER and any(corpus.speakers[row] is None for row in used.tolist()):
        raise CorpusError(f"{name} keeps speakers apart; corpus '{corpus.name}' does not name them all")
    values = [joint_value(clip, together) for clip in corpus.clips]
    for number, fold in enumerate(folds, 1):
        if together and (shared := shared_names([fold], values)):
            what, group = " and ".join(together), min(shared).replace("\0", ", ")
            raise ConfigError(
                f"{name} keeps clips of one {what} together, but {what} '{group}' is in both train and test "
                f"of fold {number}"
            )


def shared_names(folds: Iterable[Fold], names: Sequence[str | None]) -> set[str]:
    """Names (of speakers, say) that are in both train and test of some fold; `names` has one per row."""
    shared: set[str | None] = set()
    for fold in folds:
        trained, tested = ({names[row] for row in rows.tolist()} for rows in (fold.train, fold.test))
        shared |= trained & tested
    return {name for name in shared if name is not None}


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
        pairs = _stratified_group_pairs(targets, groups, n_folds, seed)
    else:
        by_group = GroupKFold(n_folds, shuffle=True, random_state=seed)
        pairs = list(by_group.split(train, groups=groups))
    return [Fold(train[a], train[b]) for a, b in pairs]


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
