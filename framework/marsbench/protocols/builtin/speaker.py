"""Splits that keep speakers apart: speaker2, speaker3, ... and leave one speaker out (loso)."""

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.protocols.protocol import Definition, Family, Fold, Splits
from marsbench.protocols.speaker_groups import (
    all_rows,
    groups_by_speaker,
    require_clips,
    stratified_group_folds,
)

_SEED = 0


def by_speaker(n_folds: int) -> Definition:
    """`n_folds` folds of whole speakers, classes balanced; speakers sharing a recording stay in one part."""

    def split(corpus: CheckedCorpus) -> Splits:
        require_clips(corpus, n_folds, f"speaker{n_folds}")
        groups = groups_by_speaker(corpus, all_rows(corpus))
        if (n_groups := len(set(groups))) < n_folds:
            raise CorpusError(
                f"speaker{n_folds} needs {n_folds} speakers; corpus '{corpus.name}' has {n_groups}"
            )
        pairs = stratified_group_folds(corpus.targets, groups, n_folds, _SEED)
        return Splits(tuple(Fold(np.sort(train), np.sort(test)) for train, test in pairs))

    description = f"{n_folds} folds of whole speakers, classes balanced"
    return Definition(f"speaker{n_folds}", description, by_speaker=True, split=split)


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


PROTOCOLS = (
    Family("speaker", by_speaker, listed=5),
    Definition("loso", "leave one speaker out: a fold for each speaker", True, _leave_one_speaker_out),
)
