"""Splits that keep the takes of an utterance together: utterance2, utterance3, ...

A corpus with several takes of each sentence, such as RAVDESS, has near twins: a random split puts a test
clip's other take into training. These folds measure new utterances of known voices.
"""

from dataclasses import replace

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.protocols.protocol import Definition, Family, Splits
from marsbench.protocols.speaker_groups import UTTERANCE, group_splits, statements


def by_utterance(n_folds: int) -> Definition:
    """`n_folds` random folds; all takes of a speaker's statement in one label and channel are in one part."""
    name = f"utterance{n_folds}"

    def split(corpus: CheckedCorpus) -> Splits:
        by_row = statements(corpus)
        rows = np.array([row for row, statement in enumerate(by_row) if statement is not None], np.int64)
        if not len(rows):
            raise CorpusError(
                f"{name} keeps all takes of a statement together; clips of corpus '{corpus.name}' have no "
                "attribute 'statement' (what is said). Name it, or use a protocol by speaker"
            )
        missing = len(by_row) - len(rows)
        notes = (f"{missing} clips left out: they name no statement",) if missing else ()
        return replace(group_splits(corpus, rows, UTTERANCE, n_folds, name), notes=notes)

    description = (
        f"{n_folds} folds of whole utterances (all takes of a speaker's statement), classes balanced"
    )
    return Definition(name, description, by_speaker=False, split=split)


PROTOCOLS = (Family("utterance", by_utterance, listed=5),)
