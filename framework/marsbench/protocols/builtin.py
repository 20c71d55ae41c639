"""The built-in protocols, and how a word becomes a protocol: a name of these, or a file's path."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from marsbench.config import is_protocol_path
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import ConfigError, CorpusError, unknown
from marsbench.protocols.groups import first_duplicates, groups_by_speaker, with_duplicates
from marsbench.protocols.leakage import statements
from marsbench.protocols.protocol import Definition, Fold, Parts, Rows
from marsbench.protocols.protocol_file import definition_of, read_protocol_file

_SPLIT_SEED = 0


def stratified(n_folds: int) -> Callable[[CheckedCorpus], Parts]:
    """Clips at random, classes balanced, copies together."""

    def split(corpus: CheckedCorpus) -> Parts:
        from sklearn.model_selection import StratifiedKFold

        _require_clips(corpus, n_folds, f"stratified{n_folds}")
        rows = first_duplicates(corpus, _all(corpus))
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=_SPLIT_SEED)
        return _with_copies(corpus, rows, splitter.split(rows, corpus.targets[rows]))

    return split


def holdout80(corpus: CheckedCorpus) -> Parts:
    """One split of clips at random, classes balanced, copies together."""
    from sklearn.model_selection import StratifiedShuffleSplit

    _require_clips(corpus, 5, "holdout80")
    rows = first_duplicates(corpus, _all(corpus))
    splitter = StratifiedShuffleSplit(1, test_size=0.2, random_state=_SPLIT_SEED)
    return _with_copies(corpus, rows, splitter.split(rows, corpus.targets[rows]))


def by_speaker(n_folds: int) -> Callable[[CheckedCorpus], Parts]:
    """Whole speakers, classes balanced; speakers who share a recording together."""

    def split(corpus: CheckedCorpus) -> Parts:
        from sklearn.model_selection import StratifiedGroupKFold

        _require_clips(corpus, n_folds, f"speaker{n_folds}")
        groups = groups_by_speaker(corpus, _all(corpus))
        if (there := len(set(groups))) < n_folds:
            raise CorpusError(
                f"speaker{n_folds} needs {n_folds} speakers; corpus '{corpus.name}' has {there}"
            )
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=_SPLIT_SEED)
        pairs = splitter.split(corpus.targets, corpus.targets, groups)
        return Parts(tuple(Fold(np.sort(train), np.sort(test)) for train, test in pairs))

    return split


def leave_one_speaker_out(corpus: CheckedCorpus) -> Parts:
    """A fold for each speaker, in the order of their names."""
    groups_by_speaker(corpus, _all(corpus))  # each clip must have one
    speakers = np.array(corpus.speakers, str)
    names = np.unique(speakers)
    if len(names) < 2:
        raise CorpusError(f"loso needs 2 speakers; corpus '{corpus.name}' has 1")
    return Parts(
        tuple(Fold(np.flatnonzero(speakers != name), np.flatnonzero(speakers == name)) for name in names)
    )


def statement2(corpus: CheckedCorpus) -> Parts:
    """Two folds of whole statements, classes balanced; the first tests the statement first in order."""
    from sklearn.model_selection import StratifiedGroupKFold

    said = statements(corpus)
    rows = np.array([row for row, name in enumerate(said) if name is not None], np.int64)
    names = np.array([said[row] for row in rows], str)
    if len(there := sorted(set(names.tolist()))) < 2:
        found = f"has one alone, {there[0]!r}" if there else "names none"
        raise CorpusError(f"statement2 needs clips of two statements; corpus '{corpus.name}' {found}")
    _require_clips(corpus, 2, "statement2", rows)
    splitter = StratifiedGroupKFold(2, shuffle=True, random_state=_SPLIT_SEED)
    pairs = list(splitter.split(rows, corpus.targets[rows], names))
    pairs.sort(key=lambda pair: min(names[pair[1]].tolist()))
    missing = len(corpus.clips) - len(rows)
    notes = (f"{missing} clips left out: they name no statement",) if missing else ()
    return Parts(tuple(Fold(np.sort(rows[train]), np.sort(rows[test])) for train, test in pairs), notes)


def _all(corpus: CheckedCorpus) -> Rows:
    return np.arange(len(corpus.clips))


def _with_copies(corpus: CheckedCorpus, rows: Rows, pairs: Iterable[tuple[Rows, Rows]]) -> Parts:
    def whole(part: Rows) -> Rows:
        return with_duplicates(corpus, rows[part], _all(corpus))

    return Parts(tuple(Fold(whole(train), whole(test)) for train, test in pairs))


def _require_clips(corpus: CheckedCorpus, least: int, protocol: str, rows: Rows | None = None) -> None:
    firsts = first_duplicates(corpus, _all(corpus) if rows is None else rows)
    counts = Counter(corpus.targets[firsts].tolist())
    for target, label in enumerate(corpus.labels):
        if counts[target] < least:
            there = f"class '{label}' of corpus '{corpus.name}' has {counts[target]} different clips"
            raise CorpusError(f"{protocol} needs {least} clips of every class; {there}")


_PUBLISHED = Path(__file__).parent / "published"
"""Folds in print, as files such as users write."""


def _published(name: str) -> Definition:
    return definition_of(read_protocol_file(_PUBLISHED / f"{name}.toml"))


PROTOCOLS = {
    definition.name: definition
    for definition in (
        Definition("stratified5", "5 folds of clips at random, classes balanced", False, stratified(5)),
        Definition("holdout80", "one split, 80 % of clips for training, classes balanced", False, holdout80),
        Definition("speaker5", "5 folds of whole speakers, classes balanced", True, by_speaker(5)),
        Definition("loso", "leave one speaker out: a fold for each speaker", True, leave_one_speaker_out),
        _published("emobox6"),
        _published("luna5"),
        Definition("statement2", "2 folds of whole statements, classes balanced", False, statement2),
    )
}


def find_protocol(word: str) -> Definition:
    """The protocol of that name or in that file, without looking at any corpus.

    Raises:
        ConfigError: no such name, with the nearest one; or what `read_protocol_file` raises.
    """
    if is_protocol_path(word):
        return definition_of(read_protocol_file(Path(word)))
    if word not in PROTOCOLS:
        problem = unknown("protocol", word, PROTOCOLS)
        raise ConfigError(problem if problem.endswith("?") else f"{problem} Or give a .toml or .json file.")
    return PROTOCOLS[word]
