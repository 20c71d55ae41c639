"""Protocols: named, frozen ways to split a corpus into training and test clips.

A protocol's splits depend on the corpus alone, never on the seed of a run. Copies of one recording always
stand on the same side of a split.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marsbench.corpus import CheckedCorpus
from marsbench.errors import ConfigError, CorpusError, unknown
from marsbench.files import derived_seed, digest

Rows = NDArray[np.int64]
METRICS_VERSION = 1
"""Raised when the same predictions would get other scores; part of every protocol hash."""
_SPLIT_SEED = 0
_VALIDATION = 0.1
_HOLD_OUT = 0.2


@dataclass(frozen=True)
class Fold:
    """One split: rows of the checked corpus, each sorted."""

    train: Rows
    test: Rows


@dataclass(frozen=True)
class Definition:
    """What a protocol's name stands for."""

    name: str
    description: str
    by_speaker: bool
    split: Callable[[CheckedCorpus], Iterable[tuple[Rows, Rows]]]


@dataclass(frozen=True)
class Protocol:
    """A protocol applied to a corpus."""

    name: str
    by_speaker: bool
    folds: tuple[Fold, ...]
    hash: str
    """Covers corpus, class order, splits and metrics; only equal hashes may be compared."""
    notes: tuple[str, ...]


def find_protocol(name: str) -> Definition:
    """The protocol of that name; raises ConfigError with the nearest one."""
    if name not in PROTOCOLS:
        raise ConfigError(unknown("protocol", name, PROTOCOLS))
    return PROTOCOLS[name]


def apply_protocol(name: str, corpus: CheckedCorpus) -> Protocol:
    """Split a corpus.

    Raises:
        ConfigError: no protocol of that name.
        CorpusError: the corpus has too few clips of a class, too few speakers, or unknown ones.
    """
    definition = find_protocol(name)
    folds = tuple(Fold(np.sort(train), np.sort(test)) for train, test in definition.split(corpus))
    splits = [[fold.train.tolist(), fold.test.tolist()] for fold in folds]
    notes = [*_notes(definition, corpus), *_untrained_classes(corpus, folds)]
    protocol_hash = digest([name, METRICS_VERSION, corpus.fingerprint, splits])
    return Protocol(name, definition.by_speaker, folds, protocol_hash, tuple(notes))


def keep_aside(corpus: CheckedCorpus, train: Rows, by_speaker: bool, seed: int) -> tuple[Rows, Rows]:
    """Part training rows into (fitting, validation), the latter about a tenth: whole speakers or stratified.

    Copies of one recording stay together. With a single speaker, or a class of one recording, the rows are
    split without regard to speakers or classes.
    """
    return _held_out(corpus, train, by_speaker, _VALIDATION, derived_seed(seed, "validation"))


def inner_folds(corpus: CheckedCorpus, train: Rows, by_speaker: bool, n_folds: int, seed: int) -> list[Fold]:
    """Split training rows again, to choose a configuration by.

    `n_folds` folds, or a hold-out of a fifth for 1. Whole speakers where `by_speaker`, else classes balanced;
    copies of one recording stay together. There are fewer folds where a class or the speakers do not suffice,
    but two parts at least.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    split_seed = derived_seed(seed, "inner")
    if n_folds == 1:
        return [Fold(*_held_out(corpus, train, by_speaker, _HOLD_OUT, split_seed))]
    if by_speaker and (n_groups := len(np.unique(groups := _groups_by_speaker(corpus)[train]))) > 1:
        by_group = StratifiedGroupKFold(min(n_folds, n_groups), shuffle=True, random_state=split_seed)
        return [Fold(train[a], train[b]) for a, b in by_group.split(train, corpus.targets[train], groups)]
    rows = np.intersect1d(train, _first_copies(corpus))
    least = int(np.unique(corpus.targets[rows], return_counts=True)[1].min())
    if least < 2:
        return [Fold(*_balanced(corpus, train, _HOLD_OUT, split_seed))]
    balanced = StratifiedKFold(min(n_folds, least), shuffle=True, random_state=split_seed)
    return [
        Fold(np.sort(_with_copies(corpus, rows[a])), np.sort(_with_copies(corpus, rows[b])))
        for a, b in balanced.split(rows, corpus.targets[rows])
    ]


def _held_out(
    corpus: CheckedCorpus, train: Rows, by_speaker: bool, share: float, seed: int
) -> tuple[Rows, Rows]:
    """Part rows into (fitting, about `share` of them): whole speakers if there are several, or balanced."""
    from sklearn.model_selection import GroupShuffleSplit

    if by_speaker and len(np.unique(groups := _groups_by_speaker(corpus)[train])) > 1:
        by_group = GroupShuffleSplit(1, test_size=share, random_state=seed)
        fit, aside = next(by_group.split(train, groups=groups))
        return np.sort(train[fit]), np.sort(train[aside])
    return _balanced(corpus, train, share, seed)


def _balanced(corpus: CheckedCorpus, train: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Part rows into (fitting, about `share` of them), stratified unless a class has one recording."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    rows = np.intersect1d(train, _first_copies(corpus))
    _, counts = np.unique(corpus.targets[rows], return_counts=True)
    size = max(round(share * len(rows)), len(counts))
    kind = StratifiedShuffleSplit if counts.min() > 1 and len(rows) - size >= len(counts) else ShuffleSplit
    fit, aside = next(kind(1, test_size=size, random_state=seed).split(rows, corpus.targets[rows]))
    return np.sort(_with_copies(corpus, rows[fit])), np.sort(_with_copies(corpus, rows[aside]))


def _stratified(n_folds: int) -> Callable[[CheckedCorpus], Iterable[tuple[Rows, Rows]]]:
    def split(corpus: CheckedCorpus) -> Iterable[tuple[Rows, Rows]]:
        from sklearn.model_selection import StratifiedKFold

        _require_clips(corpus, n_folds, f"stratified{n_folds}")
        rows = _first_copies(corpus)
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=_SPLIT_SEED)
        for train, test in splitter.split(rows, corpus.targets[rows]):
            yield _with_copies(corpus, rows[train]), _with_copies(corpus, rows[test])

    return split


def _holdout(corpus: CheckedCorpus) -> Iterable[tuple[Rows, Rows]]:
    from sklearn.model_selection import StratifiedShuffleSplit

    _require_clips(corpus, 5, "holdout80")
    rows = _first_copies(corpus)
    splitter = StratifiedShuffleSplit(1, test_size=0.2, random_state=_SPLIT_SEED)
    train, test = next(splitter.split(rows, corpus.targets[rows]))
    yield _with_copies(corpus, rows[train]), _with_copies(corpus, rows[test])


def _by_speaker(n_folds: int) -> Callable[[CheckedCorpus], Iterable[tuple[Rows, Rows]]]:
    def split(corpus: CheckedCorpus) -> Iterable[tuple[Rows, Rows]]:
        from sklearn.model_selection import StratifiedGroupKFold

        _require_clips(corpus, n_folds, f"speaker{n_folds}")
        groups = _groups_by_speaker(corpus)
        if (there := len(set(groups))) < n_folds:
            raise CorpusError(
                f"speaker{n_folds} needs {n_folds} speakers; corpus '{corpus.name}' has {there}"
            )
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=_SPLIT_SEED)
        yield from splitter.split(corpus.targets, corpus.targets, groups)

    return split


def _require_clips(corpus: CheckedCorpus, least: int, protocol: str) -> None:
    counts = Counter(corpus.targets[_first_copies(corpus)].tolist())
    for target, label in enumerate(corpus.labels):
        if counts[target] < least:
            there = f"class '{label}' of corpus '{corpus.name}' has {counts[target]} different clips"
            raise CorpusError(f"{protocol} needs {least} clips of every class; {there}")


def _first_copies(corpus: CheckedCorpus) -> Rows:
    """All rows but the second and further copies of a recording."""
    repeated = {row for rows in corpus.copies for row in rows[1:]}
    return np.array([row for row in range(len(corpus.clips)) if row not in repeated], np.int64)


def _with_copies(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """`rows` and the further copies of those recordings."""
    there = set(rows.tolist())
    copies = [copy for group in corpus.copies if group[0] in there for copy in group[1:]]
    return np.concatenate([rows, np.array(copies, np.int64)])


def _groups_by_speaker(corpus: CheckedCorpus) -> Rows:
    """A number for each row, equal for equal speakers and for speakers who share a recording."""
    if None in corpus.speakers:
        clip = corpus.clips[corpus.speakers.index(None)].id
        raise CorpusError(
            f"corpus '{corpus.name}' names no speaker for {clip}; use a protocol without speakers"
        )
    _, groups = np.unique(np.array(corpus.speakers, str), return_inverse=True)
    for rows in corpus.copies:
        shared = groups[list(rows)]
        groups[np.isin(groups, shared)] = shared.min()
    return groups


def _notes(definition: Definition, corpus: CheckedCorpus) -> Iterable[str]:
    if not definition.by_speaker and any(corpus.speakers):
        yield "speakers stand on both sides of the split: scores do not tell how unknown speakers fare"
    for kind, copies in (("exact", corpus.exact_copies), ("near", corpus.near_copies)):
        if copies:
            named = "; ".join(_describe(corpus, rows) for rows in copies[:3])
            yield f"{len(copies)} group(s) of {kind} copies kept on one side of each split: {named}"
    for rows in corpus.contradictions:
        yield f"the same audio has different labels: {_describe(corpus, rows)}"


def _untrained_classes(corpus: CheckedCorpus, folds: Iterable[Fold]) -> Iterable[str]:
    for number, fold in enumerate(folds, 1):
        for target in sorted(set(range(len(corpus.labels))) - set(corpus.targets[fold.train].tolist())):
            yield f"fold {number} trains without class '{corpus.labels[target]}' and cannot recognise it"


def _describe(corpus: CheckedCorpus, rows: Sequence[int]) -> str:
    return " = ".join(corpus.clips[row].id for row in rows)


PROTOCOLS = {
    definition.name: definition
    for definition in (
        Definition("stratified5", "5 folds of clips at random, classes balanced", False, _stratified(5)),
        Definition("holdout80", "one split, 80 % of clips for training, classes balanced", False, _holdout),
        Definition("speaker5", "5 folds of whole speakers, classes balanced", True, _by_speaker(5)),
    )
}
DEFAULT_PROTOCOL = "stratified5"
