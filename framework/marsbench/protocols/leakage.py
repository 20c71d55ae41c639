"""What stands on both sides of a split, and the guard that lets no copy of a test clip into training."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.protocols.protocol import Fold, Leakage

_NAMED = 3


def without_duplicates(corpus: CheckedCorpus, folds: Sequence[Fold]) -> tuple[tuple[Fold, ...], Leakage]:
    """Folds that train on no copy of what they test, and what they still share."""
    guarded = tuple(_guarded(corpus, fold) for fold in folds)
    dropped = tuple(
        (number, corpus.clips[row].id)
        for number, (given, kept) in enumerate(zip(folds, guarded, strict=True))
        for row in np.setdiff1d(given.train, kept.train)
    )
    lost = {clip for _, clip in dropped}
    leakage = Leakage(
        speakers_shared=len(on_both_sides(guarded, corpus.speakers)),
        statements_shared=len(on_both_sides(guarded, statements(corpus))),
        exact_groups=tuple(_kept_together(corpus, corpus.exact_duplicates, folds, lost)),
        near_groups=tuple(_kept_together(corpus, corpus.near_duplicates, folds, lost)),
        dropped=dropped,
    )
    return guarded, leakage


def statements(corpus: CheckedCorpus) -> tuple[str | None, ...]:
    """What is said in each clip, None where unknown."""
    return tuple(clip.attributes.get("statement") for clip in corpus.clips)


def leakage_notes(leakage: Leakage) -> Iterator[str]:
    """One line for each thing that a reader of the scores must know."""
    for shared, what in ((leakage.speakers_shared, "speakers"), (leakage.statements_shared, "statements")):
        if shared:
            yield f"{what} stand on both sides of the split: scores do not tell how unknown {what} fare"
    for kind, groups in (("exact", leakage.exact_groups), ("near", leakage.near_groups)):
        if groups:
            named = "; ".join(" = ".join(group) for group in groups[:_NAMED])
            yield f"{len(groups)} group(s) of {kind} copies kept on one side of each split: {named}"
    if leakage.dropped:
        named = ", ".join(f"{clip} (fold {fold + 1})" for fold, clip in leakage.dropped[:_NAMED])
        more = f" and {len(leakage.dropped) - _NAMED} more" if len(leakage.dropped) > _NAMED else ""
        yield f"copies of test clips left out of training: {named}{more}"


def _guarded(corpus: CheckedCorpus, fold: Fold) -> Fold:
    tested = set(fold.test.tolist())
    banned = [row for copies in corpus.duplicates if not tested.isdisjoint(copies) for row in copies]
    return replace(fold, train=np.setdiff1d(fold.train, np.array(banned, np.int64)))


def on_both_sides(folds: Iterable[Fold], names: Sequence[str | None]) -> set[str]:
    """Those of the clips' names, by row, that stand on both sides of a fold."""
    known = sorted({name for name in names if name is not None})
    numbers = {name: number for number, name in enumerate(known)}
    coded = np.array([-1 if name is None else numbers[name] for name in names], np.int64)
    both = (np.intersect1d(coded[fold.train], coded[fold.test]) for fold in folds)
    return {known[number] for shared in both for number in shared.tolist() if number >= 0}


def _kept_together(
    corpus: CheckedCorpus, copies: Iterable[tuple[int, ...]], folds: Sequence[Fold], lost: set[str]
) -> Iterator[tuple[str, ...]]:
    """Groups of which several clips are used and none was left out of training."""
    used = {row for fold in folds for rows in (fold.train, fold.test) for row in rows.tolist()}
    for rows in copies:
        group = tuple(corpus.clips[row].id for row in rows if row in used)
        if len(group) > 1 and lost.isdisjoint(group):
            yield group
