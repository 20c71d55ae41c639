"""Split clips into folds: which stay together (duplicates, clips of one speaker), and balanced classes.

What stays together beside duplicates is told by names of attributes, `together`: ("speaker",) for whole
speakers, () for nothing. Clips that are equal in all of them are one group (`groups_of`).
`leakage.require_apart` verifies that a protocol's folds keep them together.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.data.join import CORPUS
from marsbench.errors import CorpusError
from marsbench.protocols.protocol import SPEAKER, Fold, Rows

_SEED = 0


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
            found = f"class '{label}' of corpus '{corpus.name}' has {counts[target]} different clips"
            raise CorpusError(f"{protocol} needs {least} clips of every class; {found}")


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
) -> tuple[Fold, ...]:
    """Split `rows`, of which each is in one of `groups`, at random into folds with balanced classes.

    The protocol's name and `what` the groups are stand in messages.

    Raises:
        CorpusError: a class has fewer than `n_folds` clips, or there are fewer groups.
    """
    require_clips(corpus, n_folds, protocol, rows)
    if (n_groups := len(np.unique(groups))) < n_folds:
        raise CorpusError(f"{protocol} needs {n_folds} {what}; corpus '{corpus.name}' has {n_groups}")
    pairs = stratified_group_pairs(corpus.targets[rows], groups, n_folds, _SEED)
    return tuple(Fold(np.sort(rows[train]), np.sort(rows[test])) for train, test in pairs)


def stratified_group_pairs(
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
