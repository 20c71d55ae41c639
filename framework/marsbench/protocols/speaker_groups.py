"""Which clips must be in the same part of a split: duplicates, clips of one speaker, takes of one utterance.

Every split that keeps speakers apart uses `groups_by_speaker`, and `require_speakers_apart` verifies it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import ConfigError, CorpusError
from marsbench.protocols.protocol import Fold, Rows, Splits

UTTERANCE = ("speaker", "statement", "label", "channel")
"""Clips that are equal in all of these are takes of one utterance, whatever repetition and intensity."""
_SEED = 0


def first_duplicates(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """`rows` with only the first of every group of duplicates, sorted."""
    kept = set(rows.tolist())
    for group in corpus.duplicates:
        kept.difference_update([row for row in group if row in kept][1:])
    return np.array(sorted(kept), np.int64)


def with_duplicates(corpus: CheckedCorpus, firsts: Rows, rows: Rows) -> Rows:
    """`firsts` and their duplicates among `rows`, sorted."""
    chosen, available = set(firsts.tolist()), set(rows.tolist())
    for group in corpus.duplicates:
        if not chosen.isdisjoint(group):
            chosen.update(available.intersection(group))
    return np.array(sorted(chosen), np.int64)


def n_recordings(corpus: CheckedCorpus, rows: Rows) -> int:
    """Number of different recordings among `rows`."""
    recordings = np.arange(len(corpus.clips))
    for group in corpus.duplicates:
        recordings[list(group)] = group[0]
    return len(np.unique(recordings[rows]))


def require_clips(corpus: CheckedCorpus, least: int, protocol: str, rows: Rows | None = None) -> None:
    """Raise CorpusError unless every class has `least` different recordings among `rows` (None: all)."""
    firsts = first_duplicates(corpus, all_rows(corpus) if rows is None else rows)
    counts = Counter(corpus.targets[firsts].tolist())
    for target, label in enumerate(corpus.labels):
        if counts[target] < least:
            found = f"class '{label}' of corpus '{corpus.name}' has {counts[target]} different clips"
            raise CorpusError(f"{protocol} needs {least} clips of every class; {found}")


def all_rows(corpus: CheckedCorpus) -> Rows:
    """Every row of the corpus."""
    return np.arange(len(corpus.clips))


def split_recordings(corpus: CheckedCorpus, rows: Rows, pairs: Iterable[tuple[Rows, Rows]]) -> Splits:
    """Folds from (train, test) indices into `rows`, each with all duplicates of its clips."""
    return Splits(
        tuple(
            Fold(*(with_duplicates(corpus, rows[part], all_rows(corpus)) for part in pair)) for pair in pairs
        )
    )


def groups_by_speaker(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """Group number of each row, equal for equal speakers and for speakers who share a recording, (n_rows,).

    Raises:
        CorpusError: the speaker of one of `rows` is unknown.
    """
    for row in rows:
        if corpus.speakers[row] is None:
            raise CorpusError(
                f"corpus '{corpus.name}' names no speaker for {corpus.clips[row].id}; "
                "use a protocol without speakers"
            )
    # A clip without a speaker, which cannot be among `rows`, is a group of its own.
    keys = [f"\0{row}" if speaker is None else speaker for row, speaker in enumerate(corpus.speakers)]
    return _numbers(corpus, keys)[rows]


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


def utterances(corpus: CheckedCorpus) -> tuple[str | None, ...]:
    """Key of each clip, equal for takes of one utterance; None if its speaker or statement is unknown."""
    return tuple(
        None if clip.speaker is None or "statement" not in clip.attributes else _key(clip, UTTERANCE)
        for clip in corpus.clips
    )


def _key(clip: Clip, names: Iterable[str]) -> str:
    return "\0".join(value_of(clip, name) or "" for name in names)


def stratified_group_folds(
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


def group_splits(
    corpus: CheckedCorpus, rows: Rows, names: Iterable[str], n_folds: int, protocol: str
) -> Splits:
    """Split `rows` at random into folds with balanced classes; clips equal in all of `names` stay together.

    Raises:
        CorpusError: a class has fewer than `n_folds` clips, or there are fewer groups.
    """
    require_clips(corpus, n_folds, protocol, rows)
    groups = _numbers(corpus, [_key(clip, names) for clip in corpus.clips])[rows]
    if (n_groups := len(np.unique(groups))) < n_folds:
        what = f"groups of equal {', '.join(names)}"
        raise CorpusError(f"{protocol} needs {n_folds} {what}; corpus '{corpus.name}' has {n_groups}")
    pairs = stratified_group_folds(corpus.targets[rows], groups, n_folds, _SEED)
    return Splits(tuple(Fold(np.sort(rows[train]), np.sort(rows[test])) for train, test in pairs))


def require_speakers_apart(name: str, corpus: CheckedCorpus, folds: Sequence[Fold]) -> None:
    """Verify that no speaker is in both train and test of a fold.

    Raises:
        CorpusError: a clip without a known speaker is used.
        ConfigError: a speaker is in both; names the speaker and the fold.
    """
    used = np.unique(np.concatenate([rows for fold in folds for rows in (fold.train, fold.test)]))
    if any(corpus.speakers[row] is None for row in used.tolist()):
        raise CorpusError(f"{name} keeps speakers apart; corpus '{corpus.name}' does not name them all")
    for number, fold in enumerate(folds, 1):
        if shared := shared_names([fold], corpus.speakers):
            raise ConfigError(
                f"{name} says by_speaker, but speaker '{min(shared)}' is in both train and test of fold "
                f"{number}"
            )


def statements(corpus: CheckedCorpus) -> tuple[str | None, ...]:
    """Statement of each clip, in order; None if unknown."""
    return tuple(clip.attributes.get("statement") for clip in corpus.clips)


def shared_names(folds: Iterable[Fold], names: Sequence[str | None]) -> set[str]:
    """Names (of speakers, say) that are in both train and test of some fold; `names` has one per row."""
    known = sorted({name for name in names if name is not None})
    numbers = {name: number for number, name in enumerate(known)}
    coded = np.array([-1 if name is None else numbers[name] for name in names], np.int64)
    shared = (np.intersect1d(coded[fold.train], coded[fold.test]) for fold in folds)
    return {known[number] for codes in shared for number in codes.tolist() if number >= 0}
