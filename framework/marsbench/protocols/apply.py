"""Find protocols by name or file, and apply them to a corpus."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import compress, islice
from pathlib import Path
from pkgutil import iter_modules

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.data.join import CORPUS
from marsbench.data.voices import listed
from marsbench.environment import no_search_for_cycles
from marsbench.errors import ConfigError, CorpusError, unknown
from marsbench.hashing import digest_with_rows
from marsbench.options import is_protocol_path
from marsbench.protocols import builtin
from marsbench.protocols.leakage import leakage_notes, require_apart, without_duplicates
from marsbench.protocols.protocol import (
    METRICS_VERSION,
    SPEAKER,
    ByName,
    Definition,
    Family,
    Fold,
    FoldCorpora,
    Protocol,
    Rows,
    mask_of,
)
from marsbench.protocols.protocol_file import definition_of, read_protocol_file
from marsbench.protocols.splitting import first_duplicates, rows_by_corpus

_NOTES_SHOWN = 20
_LISTED_FOLDS = 5
"""Folds of the one member of each family that is listed."""


def listed_protocols() -> list[Definition]:
    """The built-in protocols by name, with one member of each family."""
    definitions = map(_example, _builtin())
    return sorted(definitions, key=lambda definition: definition.name)


def _example(item: Definition | Family | ByName) -> Definition:
    """What is listed of it."""
    if isinstance(item, Definition):
        return item
    return item.define(_LISTED_FOLDS) if isinstance(item, Family) else item.define("NAME")


def builtin_protocol(name: str) -> Definition | None:
    """The built-in protocol of that name, None if there is none."""
    match = re.fullmatch(r"(.*?)([1-9][0-9]{0,8})", name, re.ASCII)
    for item in _builtin():
        if isinstance(item, Definition):
            if item.name == name:
                return item
        elif isinstance(item, ByName):
            if own := name.removeprefix(item.prefix) * name.startswith(item.prefix):
                return item.define(own)
        elif match and match[1] == item.name and (n_folds := int(match[2])) >= 2:
            return item.define(n_folds)
    return None


def find_protocol(asked: str) -> Definition:
    """The built-in protocol of a name, or the one in a file whose path is given.

    Raises:
        ConfigError: unknown name, fewer than two folds, or what `read_protocol_file` raises.
    """
    if is_protocol_path(asked):
        return replace(definition_of(read_protocol_file(Path(asked))), is_custom=True)
    if definition := builtin_protocol(asked):
        return definition
    for item in _builtin():
        if isinstance(item, Family) and asked in {f"{item.name}0", f"{item.name}1"}:
            raise ConfigError(
                f"protocol '{asked}' has {asked[-1]} folds; at least 2 are needed: {item.name}2"
            )
    problem = unknown("protocol", asked, [definition.name for definition in listed_protocols()])
    raise ConfigError(problem if problem.endswith("?") else f"{problem} Or give a .toml or .json file.")


def _builtin() -> Iterator[Definition | Family | ByName]:
    """What the files of the package `builtin` define."""
    for module in iter_modules(builtin.__path__):
        yield from import_module(f"{builtin.__name__}.{module.name}").PROTOCOLS
    for folder in map(Path, builtin.__path__):
        for path in sorted(folder.glob("*.toml")):
            yield definition_of(read_protocol_file(path))


def with_members(definitions: Mapping[str, Definition], corpus: CheckedCorpus) -> dict[str, Definition]:
    """Protocols by word, a word that stands for several replaced by their names.

    Raises:
        CorpusError: such a word, and a corpus that is not joined of others.
    """
    found: dict[str, Definition] = {}
    for word, definition in definitions.items():
        if definition.members is None:
            found[word] = definition
        else:
            names = definition.members(list(rows_by_corpus(corpus, word)))
            found |= {name: find_protocol(name) for name in names}
    return found


def apply_protocol(asked: str | Definition, corpus: CheckedCorpus) -> Protocol:
    """Split a corpus by a protocol, given by definition, name or file.

    Raises:
        ConfigError: unknown protocol; a file that has the name of a built-in protocol but other splits; or
            splits with clips that it keeps together in both train and test.
        CorpusError: the corpus has too few clips of a class, too few or unknown speakers, or lacks what the
            protocol names.
    """
    definition = find_protocol(asked) if isinstance(asked, str) else asked
    applied = _apply(definition, corpus)
    if definition.is_custom and (same_name := builtin_protocol(definition.name)):
        _require_equal(applied, same_name, corpus)
    return applied


@no_search_for_cycles()
def _apply(definition: Definition, corpus: CheckedCorpus) -> Protocol:
    splits = definition.split(corpus)
    folds, leakage = without_duplicates(corpus, tuple(splits.folds))
    _require_use(definition, corpus, folds)
    together = definition.together if splits.together is None else splits.together
    require_apart(definition.name, corpus, folds, together)
    # What stays together decides the inner splits of every fit. A built-in's name implies a single attribute.
    is_implied = len(together) == 1 and builtin_protocol(definition.name)
    kept = ["by_speaker" if together == SPEAKER else together] if together and not is_implied else []
    return Protocol(
        name=definition.name,
        description=definition.description,
        source=definition.source,
        together=together,
        folds=folds,
        hash=digest_with_rows(
            [definition.name, METRICS_VERSION, corpus.fingerprint],
            _as_json(folds, len(corpus.clips)),
            kept,
            as_json=str,
        ),
        leakage=leakage,
        notes=(
            *leakage_notes(leakage, has_dev=any(len(fold.dev) for fold in folds)),
            *_first(_contradictions(corpus)),
            *splits.notes,
            *_first(_untrained_classes(corpus, folds)),
        ),
        corpora=_corpora(corpus, folds),
    )


def _as_json(folds: Iterable[Fold], n_clips: int) -> Iterator[str]:
    """The rows of each fold, whose numbers are written as text once for all folds."""
    numbers = list(map(str, range(n_clips)))
    for fold in folds:
        parts = (fold.train, fold.test, *([fold.dev] if len(fold.dev) else []))
        texts = (",".join(compress(numbers, mask_of(rows).tolist())) for rows in parts)
        yield f"[[{'],['.join(texts)}]]"


def _corpora(corpus: CheckedCorpus, folds: Sequence[Fold]) -> tuple[FoldCorpora, ...]:
    """`Protocol.corpora` of the folds."""
    names = [clip.attributes.get(CORPUS) for clip in corpus.clips]
    if len(set(names)) < 2:
        return ()

    def of(rows: Rows) -> tuple[str, ...]:
        return tuple(sorted({names[row] or "" for row in rows.tolist()}))

    return tuple(FoldCorpora(of(fold.train), of(fold.test)) for fold in folds)


def _require_equal(applied: Protocol, definition: Definition, corpus: CheckedCorpus) -> None:
    """Refuse a file with the name of a built-in protocol that splits this corpus differently."""
    try:
        expected = _apply(definition, corpus)
    except CorpusError:
        expected = None
    if expected is None or (expected.hash, expected.together) != (applied.hash, applied.together):
        raise ConfigError(
            f"the file's protocol is named '{applied.name}' but splits '{corpus.name}' differently from the "
            "built-in protocol of that name; give it another name"
        )


def _require_use(definition: Definition, corpus: CheckedCorpus, folds: Sequence[Fold]) -> None:
    """Every fold must test a clip and train on at least two recordings, and every class must be tested."""
    for number, fold in enumerate(folds, 1):
        if not len(fold.test):
            raise CorpusError(
                f"{definition.name} leaves fold {number} of corpus '{corpus.name}' no clip to test; use "
                "fewer folds, or another protocol"
            )
        if (count := len(first_duplicates(corpus, fold.train))) < 2:
            raise CorpusError(
                f"{definition.name} leaves fold {number} of corpus '{corpus.name}' {count} different clip(s) "
                "to train on; 2 are needed"
            )
    tested = set(corpus.targets[np.concatenate([fold.test for fold in folds])].tolist())
    for target, label in enumerate(corpus.labels):
        if target not in tested:
            raise CorpusError(
                f"{definition.name} tests no clip of class '{label}' of corpus '{corpus.name}'; "
                "use a corpus without that class"
            )


def _first(notes: Iterable[str]) -> list[str]:
    """The first of notes of one kind, and how many more there are."""
    remaining = iter(notes)
    shown = list(islice(remaining, _NOTES_SHOWN))
    n_more = sum(1 for _ in remaining)
    return [*shown, f"{n_more:,} more notes like the last one"] if n_more else shown


def _contradictions(corpus: CheckedCorpus) -> Iterator[str]:
    for rows in corpus.contradictions:
        clips = [corpus.clips[row] for row in rows]
        are_parts = len({clip.path for clip in clips}) == 1 and all(clip.start is not None for clip in clips)
        what = "segments that overlap have" if are_parts else "the same audio has"
        yield f"{what} different labels: {listed([clip.id for clip in clips], between=' = ')}"


def _untrained_classes(corpus: CheckedCorpus, folds: Sequence[Fold]) -> Iterator[str]:
    for number, fold in enumerate(folds, 1):
        counts = np.bincount(corpus.targets[fold.train], minlength=len(corpus.labels))
        for target in np.flatnonzero(counts == 0).tolist():
            yield f"fold {number} trains without class '{corpus.labels[target]}' and cannot recognise it"
