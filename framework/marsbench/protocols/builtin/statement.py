"""A split that keeps statements apart: statement2."""

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.protocols.protocol import Definition, Fold, Splits
from marsbench.protocols.speaker_groups import require_clips, statements, stratified_group_folds

_SEED = 0


def _statement2(corpus: CheckedCorpus) -> Splits:
    """Two folds; the first tests the statement that is first in alphabetical order."""
    by_row = statements(corpus)
    rows = np.array([row for row, name in enumerate(by_row) if name is not None], np.int64)
    names = np.array([by_row[row] for row in rows], str)
    if len(known := sorted(set(names.tolist()))) < 2:
        found = f"has only one, {known[0]!r}" if known else "names none"
        raise CorpusError(f"statement2 needs clips of two statements; corpus '{corpus.name}' {found}")
    require_clips(corpus, 2, "statement2", rows)
    pairs = stratified_group_folds(corpus.targets[rows], names, 2, _SEED)
    pairs.sort(key=lambda pair: min(names[pair[1]].tolist()))
    missing = len(corpus.clips) - len(rows)
    notes = (f"{missing} clips left out: they name no statement",) if missing else ()
    return Splits(tuple(Fold(np.sort(rows[train]), np.sort(rows[test])) for train, test in pairs), notes)


PROTOCOLS = (Definition("statement2", "2 folds of whole statements, classes balanced", False, _statement2),)
