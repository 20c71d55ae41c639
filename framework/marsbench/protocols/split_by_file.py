"""How a protocol file splits a corpus: by the values it lists for each fold."""

from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np

from marsbench.corpus import CheckedCorpus, Clip
from marsbench.errors import CorpusError, unknown
from marsbench.protocols.fold import Fold, Parts, Rows
from marsbench.protocols.protocol import Definition
from marsbench.protocols.protocol_file import ProtocolFile
from marsbench.validation import shown

_NAMED = 3


def definition_of(file: ProtocolFile) -> Definition:
    """The protocol that a file stands for."""
    return Definition(file.name, file.description, file.is_by_speaker, partial(_split, file), file.source)


def _split(file: ProtocolFile, corpus: CheckedCorpus) -> Parts:
    notes: list[str] = []
    values = _values_of_clips(file, corpus, notes)
    listed = set(chain(*file.folds, file.never_tested))
    _require_listed(file, corpus, {value for value in values if value is not None}, notes)
    if strangers := sum(value is not None and value not in listed for value in values):
        what = "them" if file.by == "clip" else f"their {file.by}"
        notes.append(f"{strangers} clips left out: the protocol does not name {what}")
    fold_of = {value: number for number, names in enumerate(file.folds) for value in names}
    # Where a clip is tested: a fold, never (-1), or not used at all (-2).
    tested = np.array([fold_of.get(value, -1) if value in listed else -2 for value in values], np.int64)
    folds = tuple(_fold(file, corpus, tested, number) for number in range(len(file.folds)))
    return Parts(folds, (*notes, *_other_corpus(file, corpus)))


def _fold(file: ProtocolFile, corpus: CheckedCorpus, tested: Rows, number: int) -> Fold:
    fold = Fold(np.flatnonzero((tested != number) & (tested > -2)), np.flatnonzero(tested == number))
    if not len(fold.test):
        raise CorpusError(
            f"{file.name}: no usable clip of corpus '{corpus.name}' is tested by fold {number + 1}"
        )
    return fold


def _values_of_clips(file: ProtocolFile, corpus: CheckedCorpus, notes: list[str]) -> list[str | None]:
    """For each row what the folds go by; None for a clip that is not used."""
    _require_attributes(file, corpus)
    asked = ", ".join(f"{name}={value}" for name, value in file.only.items())
    wanted = [clip for clip in corpus.clips if _is_wanted(file, clip)]
    if not wanted:
        raise CorpusError(f"{file.name} uses {asked} alone; corpus '{corpus.name}' has no such clip")
    if unwanted := len(corpus.clips) - len(wanted):
        notes.append(f"{unwanted} clips left out: only {asked} is used")
    if unnamed := sum(_value(file, clip) is None for clip in wanted):
        notes.append(f"{unnamed} clips left out: they name no {file.by}")
    return [_value(file, clip) if _is_wanted(file, clip) else None for clip in corpus.clips]


def _require_attributes(file: ProtocolFile, corpus: CheckedCorpus) -> None:
    attributes = set(chain(*(clip.attributes for clip in corpus.clips)))
    groups = attributes | {"clip"} | ({"speaker"} if any(corpus.speakers) else set())
    for name, known in ((file.by, groups), *((name, attributes) for name in file.only)):
        if name not in known:
            what = f"attribute of the clips of corpus '{corpus.name}' is"
            raise CorpusError(f"{file.name}: {unknown(what, name, known)}")


def _require_listed(file: ProtocolFile, corpus: CheckedCorpus, there: set[str], notes: list[str]) -> None:
    """Refuse a value that the corpus lacks; tell of those whose every clip is bad."""
    lacking = [value for value in chain(*file.folds, file.never_tested) if value not in there]
    if not lacking:
        return
    bad = {clip.id for clip in corpus.bad}
    damaged = {
        _value(file, clip) for clip in corpus.corpus.clips if clip.id in bad and _is_wanted(file, clip)
    }
    for value in lacking:
        if value not in damaged:
            where = "".join(f" with {name}={wanted}" for name, wanted in file.only.items())
            raise CorpusError(
                f"{file.name} names {file.by} '{shown(value)}'; corpus '{corpus.name}' has none such{where}"
            )
    named = ", ".join(map(shown, lacking[:_NAMED]))
    notes.append(f"{len(lacking)} named by the protocol left out, for the audio is bad: {named}")


def _other_corpus(file: ProtocolFile, corpus: CheckedCorpus) -> Iterator[str]:
    if file.corpus is not None and file.corpus.fingerprint != corpus.fingerprint:
        then = f"'{file.corpus.name}' with {file.corpus.n_clips} clips"
        yield f"the file was written for corpus {then}, which is not quite this one"


def _value(file: ProtocolFile, clip: Clip) -> str | None:
    if file.by == "clip":
        return clip.id
    return clip.speaker if file.by == "speaker" else clip.attributes.get(file.by)


def _is_wanted(file: ProtocolFile, clip: Clip) -> bool:
    return all(clip.attributes.get(name) == value for name, value in file.only.items())
