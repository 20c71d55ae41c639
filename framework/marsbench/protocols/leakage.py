"""Keep speakers and duplicates of test clips out of training, and report what train and test share."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.data.voices import listed
from marsbench.errors import ConfigError, CorpusError
from marsbench.protocols.protocol import SPEAKER, Fold, Leakage, Rows
from marsbench.protocols.splitting import joint_value

UTTERANCE = ("speaker", "statement", "label", "channel")
"""Clips that are equal in all of these are takes of one utterance, whatever repetition and intensity."""
_SHOWN = 3
_MEMBERS_SHOWN = 8
"""Clips of a group of duplicates that are named; segments that overlap one another may be hundreds."""


def require_apart(name: str, corpus: CheckedCorpus, folds: Sequence[Fold], together: Sequence[str]) -> None:
    """Verify that no speaker, or no other group of equal values, is in both train and test of a fold.

    Raises:
        CorpusError: speakers stay together, and a clip without a known speaker is used.
        ConfigError: a group is in both; names it and the fold.
    """
    if tuple(together) == SPEAKER and None in corpus.speakers:
        unknown = np.array([name is None for name in corpus.speakers])
        if any(unknown[rows].any() for fold in folds for rows in (fold.train, fold.test)):
            raise CorpusError(f"{name} keeps speakers apart; corpus '{corpus.name}' does not name them all")
    if not together:
        return
    names, numbers = _numbered([joint_value(clip, together) for clip in corpus.clips])
    for number, fold in enumerate(folds, 1):
        if shared := [names[one] for one in _shared(fold, numbers, len(names))]:
            what, group = " and ".join(together), min(shared).replace("\0", ", ")
            raise ConfigError(
                f"{name} keeps clips of one {what} together, but {what} '{group}' is in both train and test "
                f"of fold {number}"
            )


def shared_names(folds: Iterable[Fold], names: Sequence[str | None]) -> set[str]:
    """Names (of speakers, say) that are in both train and test of some fold; `names` has one per row."""
    known, numbers = _numbered(names)
    shared = {number for fold in folds for number in _shared(fold, numbers, len(known))}
    return {known[number] for number in shared}


def _numbered(names: Sequence[str | None]) -> tuple[list[str], Rows]:
    """Different names, and the number of each row's; None has the one behind the last."""
    known = list(dict.fromkeys(name for name in names if name is not None))
    number: dict[str | None, int] = {name: position for position, name in enumerate([*known, None])}
    return known, np.array([number[name] for name in names], np.int64)


def _shared(fold: Fold, numbers: Rows, n_known: int) -> list[int]:
    """The known numbers that are in both train and test."""
    both = [np.bincount(numbers[rows], minlength=n_known)[:n_known] > 0 for rows in (fold.train, fold.test)]
    found: list[int] = np.flatnonzero(both[0] & both[1]).tolist()
    return found


def without_duplicates(corpus: CheckedCorpus, folds: Sequence[Fold]) -> tuple[tuple[Fold, ...], Leakage]:
    """The folds without training clips that are duplicates of their test clips, and what they still share."""
    guarded = tuple(_drop_duplicates(corpus, fold) for fold in folds)
    dropped = tuple(
        (number, corpus.clips[row].id)
        for number, (given, kept) in enumerate(zip(folds, guarded, strict=True))
        for row in np.sort(
            _less(np.concatenate([given.train, given.dev]), np.concatenate([kept.train, kept.dev]))
        )
    )
    ids = {clip for _, clip in dropped}
    leakage = Leakage(
        speakers_shared=len(shared_names(guarded, corpus.speakers)),
        statements_shared=len(shared_names(guarded, statements(corpus))),
        takes_shared=_takes_shared(corpus, guarded),
        exact_groups=tuple(_intact_groups(corpus, corpus.exact_duplicates, folds, ids)),
        near_groups=tuple(_intact_groups(corpus, corpus.near_duplicates, folds, ids)),
        dropped_duplicates=dropped,
    )
    return guarded, leakage


def leakage_notes(leakage: Leakage, *, has_dev: bool = False) -> Iterator[str]:
    """What readers of the scores should know, one line each; `has_dev` if folds have a dev part."""
    for shared, what in ((leakage.speakers_shared, "speaker"), (leakage.statements_shared, "statement")):
        if shared:
            yield f"train and test share {shared} {what}(s); expect lower scores on new {what}s"
    if leakage.takes_shared:
        yield takes_phrase(leakage.takes_shared)
    for kind, groups in (("exact", leakage.exact_groups), ("near", leakage.near_groups)):
        if groups:
            shown = "; ".join(listed(group, _MEMBERS_SHOWN, " = ") for group in groups[:_SHOWN])
            yield f"{len(groups)} group(s) of {kind} duplicates kept in one part of each split: {shown}"
    if dropped := leakage.dropped_duplicates:
        shown = ", ".join(f"{clip} (fold {fold + 1})" for fold, clip in dropped[:_SHOWN])
        more = f" and {len(dropped) - _SHOWN} more" if len(dropped) > _SHOWN else ""
        of = "test or dev" if has_dev else "test"
        yield f"duplicates of {of} clips left out of training: {shown}{more}"


def takes_phrase(share: float) -> str:
    """What it means that a share of test clips has another take in training."""
    percent = f"{100 * share:.0f}" if share >= 0.01 else "less than 1"
    return (
        f"{percent} % of test clips have another take of the same utterance in training; expect lower scores "
        "on new utterances (utterance5) and new speakers (speaker5)"
    )


def statements(corpus: CheckedCorpus) -> tuple[str | None, ...]:
    """Statement of each clip, in order; None if unknown."""
    return tuple(clip.attributes.get("statement") for clip in corpus.clips)


def _takes_shared(corpus: CheckedCorpus, folds: Sequence[Fold]) -> float | None:
    """`Leakage.takes_shared` of the folds."""
    utterances = [
        None if clip.speaker is None or "statement" not in clip.attributes else joint_value(clip, UTTERANCE)
        for clip in corpus.clips
    ]
    known, numbers = _numbered(utterances)
    n_shared = n_tested = 0
    for fold in folds:
        is_trained = np.bincount(numbers[fold.train], minlength=len(known)) > 0
        tested = numbers[fold.test][numbers[fold.test] < len(known)]
        n_shared, n_tested = n_shared + int(is_trained[tested].sum()), n_tested + len(tested)
    return n_shared / n_tested if n_tested else None


def _drop_duplicates(corpus: CheckedCorpus, fold: Fold) -> Fold:
    """Keep duplicates of test clips out of train and dev, and those of clips of dev out of train."""
    dev = _less(fold.dev, _duplicates_of(corpus, fold.test))
    seen = np.concatenate([fold.test, dev])
    return Fold(_less(fold.train, _duplicates_of(corpus, seen)), fold.test, dev)


def _less(rows: Rows, others: Rows) -> Rows:
    """Rows without others; both have each row once."""
    return np.setdiff1d(rows, others, assume_unique=True)  # else it sorts all rows, for each fold


def _duplicates_of(corpus: CheckedCorpus, rows: Rows) -> Rows:
    recordings = corpus.recordings
    is_seen = np.zeros(len(recordings), bool)
    is_seen[recordings[rows]] = True
    return np.flatnonzero(is_seen[recordings] & (np.bincount(recordings)[recordings] > 1))


def _intact_groups(
    corpus: CheckedCorpus, groups: Iterable[tuple[int, ...]], folds: Sequence[Fold], dropped: set[str]
) -> Iterator[tuple[str, ...]]:
    """Ids of groups of duplicates of which several clips are used and none was dropped from training."""
    is_used = np.zeros(len(corpus.clips), bool)
    for fold in folds:
        for part in (fold.train, fold.dev, fold.test):
            is_used[part] = True
    for rows in groups:
        group = tuple(corpus.clips[row].id for row in rows if is_used[row])
        if len(group) > 1 and dropped.isdisjoint(group):
            yield group
