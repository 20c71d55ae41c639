"""A protocol applied to a corpus: its splits, guarded against copies, and what a reader must know of them."""

from collections.abc import Iterator, Sequence

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import ConfigError, CorpusError
from marsbench.hashing import digest
from marsbench.protocols.builtin import PROTOCOLS, find_protocol
from marsbench.protocols.groups import n_recordings
from marsbench.protocols.leakage import leakage_notes, on_both_sides, without_duplicates
from marsbench.protocols.protocol import METRICS_VERSION, Definition, Fold, Protocol


def apply_protocol(asked: str | Definition, corpus: CheckedCorpus) -> Protocol:
    """Split a corpus by a protocol, or by the one of that name or in that file.

    Raises:
        ConfigError: no such protocol; a file with a built-in's name and other splits; or one that says
            `by_speaker` and puts a speaker on both sides.
        CorpusError: the corpus has too few clips of a class, too few speakers, unknown ones, or lacks what
            the protocol names.
    """
    definition = find_protocol(asked) if isinstance(asked, str) else asked
    applied = _applied(definition, corpus)
    if definition.name in PROTOCOLS and PROTOCOLS[definition.name] is not definition:
        _require_equal(applied, corpus)
    return applied


def _applied(definition: Definition, corpus: CheckedCorpus) -> Protocol:
    parts = definition.split(corpus)
    folds, leakage = without_duplicates(corpus, parts.folds)
    _require_use(definition, corpus, folds)
    splits = [[fold.train.tolist(), fold.test.tolist()] for fold in folds]
    hashed = [definition.name, METRICS_VERSION, corpus.fingerprint, splits]
    if definition.by_speaker:
        _require_speakers_apart(definition, corpus, folds)
        # The name of a built-in tells; a file's does not, and its fits stop early by other clips.
        hashed += [] if definition.name in PROTOCOLS else ["by_speaker"]
    return Protocol(
        name=definition.name,
        description=definition.description,
        source=definition.source,
        by_speaker=definition.by_speaker,
        folds=folds,
        hash=digest(hashed),
        leakage=leakage,
        notes=(
            *leakage_notes(leakage),
            *_contradictions(corpus),
            *parts.notes,
            *_untrained_classes(corpus, folds),
        ),
    )


def _require_equal(applied: Protocol, corpus: CheckedCorpus) -> None:
    """Refuse a file that has the name of a built-in and is not the same on this corpus."""
    try:
        built_in = _applied(PROTOCOLS[applied.name], corpus)
    except CorpusError:
        built_in = None
    if built_in is None or (built_in.hash, built_in.by_speaker) != (applied.hash, applied.by_speaker):
        raise ConfigError(
            f"the file's protocol is called '{applied.name}' and splits '{corpus.name}' otherwise than the "
            "built-in one does; give it another name"
        )


def _require_use(definition: Definition, corpus: CheckedCorpus, folds: Sequence[Fold]) -> None:
    """Every fold must train on two recordings, and every class must be tested by one of them."""
    for number, fold in enumerate(folds, 1):
        if (there := n_recordings(corpus, fold.train)) < 2:
            raise CorpusError(
                f"{definition.name} leaves fold {number} {there} different clips of corpus "
                f"'{corpus.name}' to train on; 2 are needed"
            )
    tested = set(corpus.targets[np.concatenate([fold.test for fold in folds])].tolist())
    for target, label in enumerate(corpus.labels):
        if target not in tested:
            raise CorpusError(
                f"{definition.name} tests no clip of class '{label}' of corpus '{corpus.name}'; "
                "use a corpus without that class"
            )


def _require_speakers_apart(definition: Definition, corpus: CheckedCorpus, folds: Sequence[Fold]) -> None:
    used = np.unique(np.concatenate([rows for fold in folds for rows in (fold.train, fold.test)]))
    if any(corpus.speakers[row] is None for row in used.tolist()):
        raise CorpusError(
            f"{definition.name} keeps speakers apart; corpus '{corpus.name}' does not name them all"
        )
    for number, fold in enumerate(folds, 1):
        if both := on_both_sides([fold], corpus.speakers):
            raise ConfigError(
                f"{definition.name} says by_speaker, yet speaker '{min(both)}' stands on both sides of fold "
                f"{number}"
            )


def _contradictions(corpus: CheckedCorpus) -> Iterator[str]:
    for rows in corpus.contradictions:
        yield "the same audio has different labels: " + " = ".join(corpus.clips[row].id for row in rows)


def _untrained_classes(corpus: CheckedCorpus, folds: Sequence[Fold]) -> Iterator[str]:
    for number, fold in enumerate(folds, 1):
        for target in np.setdiff1d(range(len(corpus.labels)), corpus.targets[fold.train]).tolist():
            yield f"fold {number} trains without class '{corpus.labels[target]}' and cannot recognise it"
