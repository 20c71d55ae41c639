"""Splits that keep clips together: by speaker (speaker2, ..., loso), statement (statement2) or utterance.

A corpus with several takes of each sentence, such as RAVDESS, has near twins: a random split puts a test
clip's other take into training. utterance2, utterance3, ... measure new utterances of known voices.
"""

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.protocols.leakage import UTTERANCE, statements
from marsbench.protocols.protocol import SPEAKER, Definition, Family, Fold, Rows, Splits
from marsbench.protocols.splitting import all_rows, group_folds, groups_by_speaker, groups_of


def by_speaker(n_folds: int) -> Definition:
    """`n_folds` folds of whole speakers, classes balanced; speakers sharing a recording stay in one part."""
    name = f"speaker{n_folds}"

    def split(corpus: CheckedCorpus) -> Splits:
        rows = all_rows(corpus)
        groups = groups_by_speaker(corpus, rows)
        return Splits(group_folds(corpus, rows, groups, n_folds, name, "speakers"))

    return Definition(name, f"{n_folds} folds of whole speakers, classes balanced", SPEAKER, split)


def _leave_one_speaker_out(corpus: CheckedCorpus) -> Splits:
    """A fold for each speaker, ordered by name; speakers who share a recording are separate folds."""
    groups_by_speaker(corpus, all_rows(corpus))  # refuses unknown speakers
    speakers = np.array(corpus.speakers, str)
    names = np.unique(speakers)
    if len(names) < 2:
        raise CorpusError(f"loso needs 2 speakers; corpus '{corpus.name}' has 1")
    return Splits(
        tuple(Fold(np.flatnonzero(speakers != name), np.flatnonzero(speakers == name)) for name in names)
    )


def _with_statement(corpus: CheckedCorpus) -> tuple[Rows, tuple[str, ...]]:
    """Rows of the clips that name a statement, and a note on the others."""
    rows = np.array([row for row, name in enumerate(statements(corpus)) if name is not None], np.int64)
    missing = len(corpus.clips) - len(rows)
    return rows, (f"{missing} clips left out: they name no statement",) if missing else ()


def _statement2(corpus: CheckedCorpus) -> Splits:
    """Two folds; the first tests the statement that is first in alphabetical order."""
    rows, notes = _with_statement(corpus)
    by_row = np.array(statements(corpus), str)
    if len(known := np.unique(by_row[rows]).tolist()) < 2:
        found = f"has only one, {known[0]!r}" if known else "names none"
        raise CorpusError(f"statement2 needs clips of two statements; corpus '{corpus.name}' {found}")
    folds = group_folds(corpus, rows, by_row[rows], 2, "statement2", "statements")
    return Splits(tuple(sorted(folds, key=lambda fold: min(by_row[fold.test].tolist()))), notes)


def by_utterance(n_folds: int) -> Definition:
    """`n_folds` random folds; all takes of a speaker's statement in one label and channel are in one part."""
    name = f"utterance{n_folds}"

    def split(corpus: CheckedCorpus) -> Splits:
        rows, notes = _with_statement(corpus)
        if not len(rows):
            raise CorpusError(
                f"{name} keeps all takes of a statement together; clips of corpus '{corpus.name}' have no "
                "attribute 'statement' (what is said). Name it, or use a protocol by speaker"
            )
        groups = groups_of(corpus, rows, UTTERANCE)
        what = f"groups of equal {', '.join(UTTERANCE)}"
        return Splits(group_folds(corpus, rows, groups, n_folds, name, what), notes)

    whole = "whole utterances (all takes of a speaker's statement)"
    return Definition(name, f"{n_folds} folds of {whole}, classes balanced", UTTERANCE, split)


PROTOCOLS = (
    Family("speaker", by_speaker),
    Definition("loso", "leave one speaker out: a fold for each speaker", SPEAKER, _leave_one_speaker_out),
    Definition("statement2", "2 folds of whole statements, classes balanced", ("statement",), _statement2),
    Family("utterance", by_utterance),
)
