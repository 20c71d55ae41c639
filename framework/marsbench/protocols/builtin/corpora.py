"""Protocols over the parts of a joined corpus: train on some corpora, test on another.

across tests each corpus, trained on all others; from_NAME trains on one corpus alone and tests each other;
within2, within3, ... test each corpus by speaker, trained on its own other speakers. across_pairs stands for
all that a matrix of training and test corpora takes: within5, and from_NAME for each corpus.
"""

from collections.abc import Sequence

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.data.join import CORPUS
from marsbench.errors import ConfigError, CorpusError, unknown
from marsbench.protocols.protocol import SPEAKER, ByName, Definition, Family, Fold, Splits
from marsbench.protocols.splitting import group_folds, groups_by_speaker, rows_by_corpus

_WHOLE = ("speaker", CORPUS)
"""Stays together where a corpus names no speakers: such a corpus is one group."""


def _across(corpus: CheckedCorpus) -> Splits:
    by_corpus = rows_by_corpus(corpus, "across")
    every = np.concatenate([*by_corpus.values()])
    folds = (Fold(np.setdiff1d(every, rows), rows) for rows in by_corpus.values())
    return _apart(corpus, tuple(folds), tuple(by_corpus))


def trained_on(name: str) -> Definition:
    """Trained on one of the joined corpora alone; a fold for each other one, in the order of their names."""
    protocol = f"from_{name}"

    def split(corpus: CheckedCorpus) -> Splits:
        by_corpus = rows_by_corpus(corpus, protocol)
        if name not in by_corpus:
            raise CorpusError(f"{protocol}: {unknown('corpus', name, by_corpus)}")
        folds = (Fold(by_corpus[name], rows) for other, rows in by_corpus.items() if other != name)
        return _apart(corpus, tuple(folds), (name,))

    return Definition(protocol, f"trained on {name}, a fold for each other corpus", SPEAKER, split)


def _apart(corpus: CheckedCorpus, folds: tuple[Fold, ...], trained: Sequence[str]) -> Splits:
    """Folds whose test corpora are not trained on: speakers have to be known only to split training clips."""
    nameless = [
        name
        for name, rows in rows_by_corpus(corpus, "").items()
        if any(corpus.speakers[row] is None for row in rows.tolist())
    ]
    if not nameless:
        return Splits(folds)
    named = ", ".join(nameless)
    unsplit = ", ".join(name for name in nameless if name in trained)
    inner = f"; splits of training clips keep all of {unsplit} together, or are by clip" if unsplit else ""
    return Splits(folds, (f"{named} does not name all speakers{inner}",), _WHOLE)


def within(n_folds: int) -> Definition:
    """Each corpus by speaker in `n_folds` folds, or as many as it has speakers, trained on itself alone."""
    protocol = f"within{n_folds}"

    def split(corpus: CheckedCorpus) -> Splits:
        folds: list[Fold] = []
        notes = []
        for name, rows in rows_by_corpus(corpus, protocol).items():
            groups = groups_by_speaker(corpus, rows)
            if len(np.unique(groups)) < 2:
                raise CorpusError(f"{protocol} needs 2 speakers of each corpus; {name} has 1")
            n_own = min(n_folds, len(np.unique(groups)))
            notes += [f"{name} has {n_own} speakers, so as many folds"] if n_own < n_folds else []
            folds += group_folds(corpus, rows, groups, n_own, protocol, "speakers")
        return Splits(tuple(folds), tuple(notes))

    whole = "of whole speakers inside each corpus, trained on that corpus alone"
    return Definition(protocol, f"{n_folds} folds {whole}", SPEAKER, split)


def _pairs(names: Sequence[str]) -> tuple[str, ...]:
    return ("within5", *(f"from_{name}" for name in names))


def _several(corpus: CheckedCorpus) -> Splits:
    members = ", ".join(_pairs(list(rows_by_corpus(corpus, "across_pairs"))))
    raise ConfigError(f"across_pairs stands for several protocols, name one of them: {members}")


PROTOCOLS = (
    Definition("across", "a fold for each of several corpora, trained on all others", SPEAKER, _across),
    Definition(
        "across_pairs",
        "within5, and from_NAME for each of several corpora: trained on one, tested on each",
        SPEAKER,
        _several,
        members=_pairs,
    ),
    ByName("from_", trained_on),
    Family("within", within),
)
