"""Which clips must stay together: copies of a recording, clips of a speaker."""

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.protocols.protocol import Rows


def first_duplicates(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """`rows` but the second and further of them that are copies of one recording, sorted."""
    there = set(rows.tolist())
    for copies in corpus.duplicates:
        there.difference_update([row for row in copies if row in there][1:])
    return np.array(sorted(there), np.int64)


def n_recordings(corpus: CheckedCorpus, rows: Rows) -> int:
    """How many different recordings `rows` are."""
    recordings = np.arange(len(corpus.clips))
    for copies in corpus.duplicates:
        recordings[list(copies)] = copies[0]
    return len(np.unique(recordings[rows]))


def with_duplicates(corpus: CheckedCorpus, firsts: Rows, rows: Rows) -> Rows:
    """`firsts` and those of `rows` that are copies of them, sorted."""
    chosen, there = set(firsts.tolist()), set(rows.tolist())
    for copies in corpus.duplicates:
        if not chosen.isdisjoint(copies):
            chosen.update(there.intersection(copies))
    return np.array(sorted(chosen), np.int64)


def groups_by_speaker(corpus: CheckedCorpus, rows: Rows) -> Rows:
    """A number for each of `rows`, equal for equal speakers and for speakers who share a recording.

    Raises:
        CorpusError: the speaker of one of `rows` is unknown.
    """
    for row in rows:
        if corpus.speakers[row] is None:
            raise CorpusError(
                f"corpus '{corpus.name}' names no speaker for {corpus.clips[row].id}; "
                "use a protocol without speakers"
            )
    # A clip without a speaker, which is none of `rows`, is a group of its own.
    keys = [f"\0{row}" if speaker is None else speaker for row, speaker in enumerate(corpus.speakers)]
    _, groups = np.unique(np.array(keys, str), return_inverse=True)
    for copies in corpus.duplicates:
        shared = groups[list(copies)]
        groups[np.isin(groups, shared)] = shared.min()
    return groups[rows]
