"""Split clips into folds: which stay together (duplicates, clips of one speaker), and balanced classes.

What stays together beside duplicates is told by names of attributes, `together`: ("speaker",) for whole
speakers, () for nothing. Clips that are equal in all of them are one group (`groups_of`).
`leakage.require_apart` verifies that a protocol's folds keep them together.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.data.join import CORPUS
from marsbench.errors import CorpusError
from marsbench.protocols.protocol import SPEAKER, Fold, Rows

_SEED = 0
_CELLS = 1 << 17
"""Numbers that the search for a group's fold has in memory at a time: a megabyte."""


def all_rows(corpus: CheckedCorpus) -> Rows:
    """Every row of the corpus."""
    return np.arange(len(corpus.clips))


def first_duplicates(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """`rows` with only the first of every group of duplicates, sorted: one for each recording."""
    first = np.full(len(corpus.clips), len(corpus.clips))
    np.minimum.at(first, corpus.recordings[rows], rows)
    is_first = np.zeros(len(corpus.clips) + 1, bool)
    is_first[first] = True
    return np.flatnonzero(is_first[:-1])


def recording_folds(corpus: CheckedCorpus, rows: Rows, pairs: Iterable[tuple[Rows, Rows]]) -> list[Fold]:
    """Folds from (train, test) positions of recordings, each with the duplicates of its clips in `rows`."""
    firsts = first_duplicates(corpus, rows)
    return [Fold(*(_with_duplicates(corpus, firsts[part], rows) for part in pair)) for pair in pairs]


def _with_duplicates(corpus: CheckedCorpus, firsts: Rows, rows: Rows) -> Rows:
    recordings = corpus.recordings
    return rows[np.isin(recordings[rows], recordings[firsts])]


def require_clips(corpus: CheckedCorpus, least: int, protocol: str, rows: Rows) -> None:
    """Raise CorpusError unless every class has `least` different recordings among `rows`."""
    counts = Counter(corpus.targets[first_duplicates(corpus, rows)].tolist())
    for target, label in enumerate(corpus.labels):
        if counts[target] < least:
            number = f"{counts[target]} different clip{'s' * (counts[target] != 1)}"
            found = f"class '{label}' of corpus '{corpus.name}' has {number}"
            raise CorpusError(
                f"{protocol} needs {least} clips of every class; {found} (--min-clips {least} leaves such "
                "classes out)"
            )


def groups_by_speaker(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """Group number of each row, equal for equal speakers and for speakers who share a recording, (n_rows,).

    Raises:
        CorpusError: the speaker of one of `rows` is unknown.
    """
    speakers = corpus.speakers
    for row in rows.tolist() if None in speakers else ():
        if speakers[row] is None:
            raise CorpusError(
                f"corpus '{corpus.name}' names no speaker for {corpus.clips[row].id}: name speakers by "
                "--speaker REGEX or a table's column speaker, or use a protocol without speakers: "
                "--protocol stratified5"
            )
    return groups_of(corpus, rows, SPEAKER)


def groups_of(corpus: CheckedCorpus, rows: Rows, names: Sequence[str]) -> Rows:
    """Group number of each row, equal for clips that are equal in all of `names` or share a recording.

    A clip that has none of these values is a group of its own, and so is every recording without names.
    """
    if (known := tuple(names)) not in corpus.groups:
        keys = [
            joint_value(clip, names) if _has_any(clip, names) else "\0" * len(names) + str(row)
            for row, clip in enumerate(corpus.clips)
        ]
        corpus.groups[known] = _numbers(corpus, keys)
    return corpus.groups[known][rows]


def _has_any(clip: Clip, names: Iterable[str]) -> bool:
    return any(value_of(clip, name) is not None for name in names)


def _numbers(corpus: CheckedCorpus, keys: Sequence[str]) -> Rows:
    """Group number of each clip, equal for equal keys and for keys that share a recording, (n_clips,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    unique = sorted(set(keys))
    number = {key: position for position, key in enumerate(unique)}
    groups = np.array([number[key] for key in keys], np.int64)
    pairs = groups, groups[corpus.recordings]
    shared = coo_array((np.ones(len(groups)), pairs), (len(unique), len(unique)))
    _, component = connected_components(shared, directed=False)
    _, least = np.unique(component, return_index=True)
    return np.asarray(least[component][groups])


def rows_by_corpus(corpus: CheckedCorpus, protocol: str) -> dict[str, Rows]:
    """Rows of the clips of each corpus that was joined, by its name.

    Raises:
        CorpusError: the corpus is not joined of others.
    """
    names = np.array([clip.attributes.get(CORPUS, "") for clip in corpus.clips])
    found = {name: np.flatnonzero(names == name) for name in np.unique(names).tolist() if name}
    if len(found) < 2:
        raise CorpusError(
            f"{protocol} tests one corpus by a model of another; '{corpus.name}' is a single one: give "
            "--data twice or more, such as --data ravdess --data PATH"
        )
    return found


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
) -> Iterator[Fold]:
    """Split `rows`, of which each is in one of `groups`, at random into folds with balanced classes.

    The protocol's name and `what` the groups are stand in messages.

    Raises:
        CorpusError: a class has fewer than `n_folds` clips, or there are fewer groups.
    """
    require_clips(corpus, n_folds, protocol, rows)
    if (n_groups := len(np.unique(groups))) < n_folds:
        raise CorpusError(f"{protocol} needs {n_folds} {what}; corpus '{corpus.name}' has {n_groups}")
    return balanced_folds(rows, corpus.targets[rows], groups, n_folds, _SEED)


def balanced_folds(
    rows: Rows, targets: Rows, groups: Rows | NDArray[np.str_], n_folds: int, seed: int
) -> Iterator[Fold]:
    """Folds of whole groups, classes balanced; no fold is empty.

    Args:
        rows: of the clips, (n_rows,).
        targets: class of each.
        groups: group of each; there are at least `n_folds`.
        n_folds: at most the clips of each class.
        seed: for the order of groups that are equally hard to place.
    """
    number = _balanced_numbers(targets, groups, n_folds, seed)
    if len(np.unique(number)) < n_folds:  # few groups of very different sizes: by these alone
        from sklearn.model_selection import GroupKFold

        for fold, (_, test) in enumerate(GroupKFold(n_folds).split(targets, targets, groups)):
            number[test] = fold
    for fold in range(n_folds):
        yield Fold(rows[number != fold], rows[number == fold])


def _balanced_numbers(targets: Rows, groups: Rows | NDArray[np.str_], n_folds: int, seed: int) -> Rows:
    """Fold of each clip, as scikit-learn's StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).

    Its own code visits every clip once a fold, and tries the folds for a group one by one.
    """
    classes, target = np.unique(targets, return_inverse=True)
    names, group = np.unique(groups, return_inverse=True)
    cells = np.bincount(group * len(classes) + target, minlength=len(names) * len(classes))
    order = np.random.RandomState(seed).permutation(len(names))
    counts = cells.reshape(-1, len(classes))[order].astype(np.float64)
    totals, sums = counts.sum(axis=0), np.zeros((n_folds, len(classes)))
    added = np.array_split(np.eye(n_folds)[:, :, None], -(-n_folds * sums.size // _CELLS))
    fold_of = np.empty(len(names), np.int64)
    for one in np.argsort(-counts.std(axis=1), kind="stable").tolist():
        tried = [((sums + there * counts[one]) / totals).std(axis=1).mean(axis=1) for there in added]
        best = _most_even(np.concatenate(tried).tolist(), sums.sum(axis=1).tolist())
        sums[best] += counts[one]
        fold_of[order[one]] = best
    return fold_of[group]


def _most_even(spreads: list[float], sizes: list[float]) -> int:
    """The fold with the least spread of classes, of about equal ones the smallest, as scikit-learn has it."""
    best = 0
    for fold, spread in enumerate(spreads):
        is_close = abs(spread - spreads[best]) <= 1e-8 + 1e-5 * spreads[best]
        if spread < spreads[best] or (is_close and sizes[fold] < sizes[best]):
            best = fold
    return best
