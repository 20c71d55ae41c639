"""Read and write protocol files: TOML or JSON that lists the clips, speakers or other groups of each fold.

Or a file names attributes and a number of random folds: clips that are equal in all of them stay together.
Files are untrusted: size, keys, values and nesting are checked first.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError

from marsbench.atomic_files import write_text
from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import ConfigError, CorpusError, first_problem, is_plain, shown, suggestion
from marsbench.hashing import digest, slug
from marsbench.options import read_toml
from marsbench.protocols.leakage import UTTERANCE
from marsbench.protocols.protocol import SPEAKER, Definition, Fold, Protocol, Rows, Splits
from marsbench.protocols.splitting import group_folds, groups_of, value_of

_MAX_BYTES = 50_000_000
_MAX_LINE = 500
_MAX_NAME = 80
_MAX_KEYS = 100
_SHOWN = 3
_NEVER, _UNUSED = -1, -2
"""Instead of the number of the fold that tests a clip."""


def _line(text: str) -> str:
    if not is_plain(text) or len(text) > _MAX_LINE:
        raise ValueError(f"one line of at most {_MAX_LINE} characters is needed")
    return text


def _name(text: str) -> str:
    if text != (valid := slug(text, "protocol")[:_MAX_NAME]):
        raise ValueError(f"not valid as a folder name; use '{valid}'")
    return text


Line = Annotated[str, AfterValidator(_line)]
Values = Annotated[tuple[str, ...], FailFast()]
"""Validation stops at the first wrong value, so that a million of them are one error."""
_STRICT = ConfigDict(extra="forbid", frozen=True)


class CorpusTable(BaseModel):
    """The corpus that a file was written for."""

    model_config = _STRICT

    name: Line
    n_clips: int
    labels: Values
    fingerprint: str


class _File(BaseModel):
    """What every protocol file may have."""

    model_config = _STRICT

    name: Annotated[Line, AfterValidator(_name)]
    description: Line = ""
    source: Line = ""
    only: dict[Line, Line] = {}
    """Values that a clip must have to be used, by attribute."""


class GroupFile(_File):
    """A protocol file of random folds that keep groups of clips together."""

    together: Annotated[tuple[Line, ...], Field(min_length=1)]
    """Names of attributes, `speaker` and `label` among them; clips that are equal in all are one group."""
    folds: Annotated[int, Field(strict=True, ge=2)]
    """Number of folds."""


class ProtocolFile(_File):
    """A protocol file that lists what each fold tests."""

    by: Line
    """What the values of `folds` are: `clip` (ids), `speaker`, or the name of an attribute of clips."""
    folds: Annotated[tuple[Values, ...], FailFast(), Field(min_length=1)]
    """Values tested by each fold, which trains on the clips of all other values listed in this file."""
    never_tested: Values = ()
    """Values whose clips every fold trains on."""
    by_speaker: Annotated[bool | None, Field(strict=True)] = None
    """Whether speakers are kept apart, also in splits of the training clips; None: if `by` is `speaker`."""
    together: tuple[Line, ...] = ()
    """Names of attributes: clips that are equal in all of them stay together, also in splits of the training
    clips; (): of speakers or of nothing, as `by_speaker` says."""
    corpus: CorpusTable | None = None
    hash: str | None = None
    """`digest` of the file when it was written; None for a file written by hand."""

    @property
    def kept_together(self) -> tuple[str, ...]:
        """`together` of its definition."""
        is_by_speaker = self.by == "speaker" if self.by_speaker is None else self.by_speaker
        return self.together or (SPEAKER if is_by_speaker else ())

    @property
    def digest(self) -> str:
        """sha256 of everything that decides the splits."""
        parts = [self.name, self.by, self.folds, self.never_tested, self.only]
        return digest([*parts, self.kept_together == SPEAKER, *([self.together] if self.together else [])])


def read_protocol_file(path: Path) -> ProtocolFile | GroupFile:
    """Read and validate a protocol file.

    Raises:
        ConfigError: it cannot be read, is too large or not valid TOML or JSON, has a wrong key or value,
            names a value twice, or was changed after it was written.
    """
    kind: type[ProtocolFile | GroupFile] = ProtocolFile
    try:
        values = _parsed(path, _bytes(path))
        kind = GroupFile if "together" in values and "by" not in values else ProtocolFile
        file = kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(first_problem(error, kind, str(path))) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply for a protocol file") from error
    if isinstance(file, ProtocolFile) and (problem := next(_problems(file), None)):
        raise ConfigError(f"{path}: {problem}")
    return file


def write_protocol_file(path: Path, protocol: Protocol, corpus: CheckedCorpus) -> None:
    """Write the splits of an applied protocol as JSON, by clip; reading it gives the same protocol hash.

    Raises:
        ConfigError: `path` does not end in .json, or a fold leaves out clips that others use, which no file
            can say.
        StorageError: it cannot be written.
    """
    require_json(path)
    _require_expressible(protocol)
    lines = file_of(protocol, corpus).model_dump(exclude_defaults=True)
    write_text(path, json.dumps(lines, indent=1) + "\n")


def _require_expressible(protocol: Protocol) -> None:
    """Every fold must train on all used clips but those that it tests and their duplicates."""
    used = np.unique(np.concatenate([rows for fold in protocol.folds for rows in (fold.train, fold.test)]))
    dropped = Counter(fold for fold, _ in protocol.leakage.dropped_duplicates)
    for number, fold in enumerate(protocol.folds):
        if len(fold.dev) or fold.n_train + len(fold.test) + dropped[number] < len(used):
            raise ConfigError(
                f"{protocol.name} cannot be written to a file: a file's folds train on all clips that they "
                f"do not test, and its fold {number + 1} does not; its name is all that a run needs"
            )


def require_json(path: Path) -> None:
    """Raise ConfigError unless the file name ends in .json."""
    if path.suffix.lower() != ".json":
        raise ConfigError(f"splits are written as JSON; name a file that ends in .json, not '{path.name}'")


def file_of(protocol: Protocol, corpus: CheckedCorpus) -> ProtocolFile:
    """The splits of an applied protocol, by clip."""

    def ids(rows: Rows) -> tuple[str, ...]:
        return tuple(corpus.clips[row].id for row in rows)

    tested = np.concatenate([fold.test for fold in protocol.folds])
    trained = np.unique(np.concatenate([fold.train for fold in protocol.folds]))
    dropped = {clip for _, clip in protocol.leakage.dropped_duplicates}
    untested = set(ids(np.setdiff1d(trained, tested))) | (dropped - set(ids(tested)))
    file = ProtocolFile(
        name=protocol.name,
        description=protocol.description,
        source=protocol.source,
        by="clip",
        folds=tuple(ids(fold.test) for fold in protocol.folds),
        never_tested=tuple(sorted(untested)),
        by_speaker=protocol.by_speaker,
        together=() if protocol.by_speaker else protocol.together,
        corpus=CorpusTable(
            name=corpus.name, n_clips=len(corpus.clips), labels=corpus.labels, fingerprint=corpus.fingerprint
        ),
    )
    return file.model_copy(update={"hash": file.digest})


def _bytes(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is not a file")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"protocol {path} cannot be read: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} is larger than {_MAX_BYTES // 1_000_000} MB, too large for a protocol")
    return content


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    kind = path.suffix.lower().removeprefix(".").upper()
    try:
        text = content.decode("utf-8-sig")
        values = json.loads(text) if kind == "JSON" else read_toml(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid {kind}: {shown(str(error))}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} has no keys; a protocol file has the keys name, by and folds")
    tables = [values, *(value for value in values.values() if isinstance(value, dict))]
    if any(len(table) > _MAX_KEYS for table in tables):
        raise ConfigError(f"{path} has a table of more than {_MAX_KEYS} keys; it is not a protocol file")
    return values


def _problems(file: ProtocolFile) -> Iterator[str]:
    """What pydantic does not check: empty folds, repeated values, edits of a written file."""
    for number, values in enumerate(file.folds, 1):
        if not values:
            yield f"fold {number} is empty"
    counts = Counter(chain(*file.folds, file.never_tested))
    if repeated := next((value for value, count in counts.items() if count > 1), None):
        places = [f"fold {number}" for number, values in enumerate(file.folds, 1) if repeated in values]
        places += ["never_tested"] if repeated in file.never_tested else []
        where = " and ".join(places) if len(places) > 1 else f"{places[0]} twice"
        yield f"'{shown(repeated)}' is listed in {where}; a value may be listed once"
    if file.by_speaker and file.together not in {(), SPEAKER}:
        yield "by_speaker = true keeps speakers together, and 'together' names something else; leave one out"
    if file.hash is not None and file.hash != file.digest:
        yield "the file was changed after it was written; to use it anyway, remove its key 'hash'"


def definition_of(file: ProtocolFile | GroupFile) -> Definition:
    """The protocol that a file defines."""
    if isinstance(file, GroupFile):
        split = partial(_split_groups, file)
        return Definition(file.name, file.description, file.together, split, file.source)
    return Definition(file.name, file.description, file.kept_together, partial(_split, file), file.source)


def _split_groups(file: GroupFile, corpus: CheckedCorpus) -> Splits:
    used, notes = _used_rows(file, [name for name in file.together if name != "label"], corpus)
    rows = np.array(used, np.int64)
    groups = groups_of(corpus, rows, file.together)
    what = f"groups of equal {', '.join(file.together)}"
    return Splits(group_folds(corpus, rows, groups, file.folds, file.name, what), tuple(notes))


def _split(file: ProtocolFile, corpus: CheckedCorpus) -> Splits:
    rows, notes = _used_rows(file, [file.by], corpus)
    _require_attributes(file, set(file.together).difference(UTTERANCE), corpus)  # takes may lack some of them
    values = {row: str(value_of(corpus.clips[row], file.by)) for row in rows}
    fold_of = dict.fromkeys(file.never_tested, _NEVER)
    fold_of |= {value: number for number, names in enumerate(file.folds) for value in names}
    notes += _lacking_values(file, corpus, set(values.values()))
    if unlisted := sum(value not in fold_of for value in values.values()):
        what = "them" if file.by == "clip" else f"their {file.by}"
        notes.append(f"{unlisted} clips left out: the protocol does not name {what}")
    tested = np.full(len(corpus.clips), _UNUSED)
    for row, value in values.items():
        tested[row] = fold_of.get(value, _UNUSED)
    folds = [
        Fold(np.flatnonzero((tested != number) & (tested != _UNUSED)), np.flatnonzero(tested == number))
        for number in range(len(file.folds))
    ]
    for number, fold in enumerate(folds, 1):
        if not len(fold.test):
            raise CorpusError(f"{file.name}: fold {number} tests no usable clip of corpus '{corpus.name}'")
    if file.corpus is not None and file.corpus.fingerprint != corpus.fingerprint:
        original = f"'{file.corpus.name}' with {file.corpus.n_clips} clips"
        notes.append(f"the protocol file was written for corpus {original}, which differs from this one")
    return Splits(tuple(folds), tuple(notes))


def _used_rows(file: _File, names: list[str], corpus: CheckedCorpus) -> tuple[list[int], list[str]]:
    """Rows of the clips with the values of `only` that name all of `names`; notes on the others."""
    _require_attributes(file, names, corpus)
    asked = ", ".join(f"{name}={value}" for name, value in file.only.items())
    wanted = [row for row, clip in enumerate(corpus.clips) if _is_wanted(file, clip)]
    if not wanted:
        raise CorpusError(f"{file.name} uses only {asked}; corpus '{corpus.name}' has no such clip")
    notes = []
    if unwanted := len(corpus.clips) - len(wanted):
        notes.append(f"{unwanted} clips left out: only {asked} is used")
    lacking = {row: [name for name in names if value_of(corpus.clips[row], name) is None] for row in wanted}
    rows = [row for row in wanted if not lacking[row]]
    if missing := len(wanted) - len(rows):
        lacked = sorted(set(chain(*lacking.values())))
        notes.append(f"{missing} clips left out: they name no {' or '.join(lacked)}")
    return rows, notes


def _require_attributes(file: _File, names: Iterable[str], corpus: CheckedCorpus) -> None:
    """Raise CorpusError if no clip has what splits (`names`) or selects them (`only`)."""
    attributes = set(chain(*(clip.attributes for clip in corpus.clips)))
    groups = attributes | {"clip"} | ({"speaker"} if any(corpus.speakers) else set())
    for name, known in (*((name, groups) for name in names), *((name, attributes) for name in file.only)):
        if name not in known:
            lack = f"clips of corpus '{corpus.name}' have no attribute '{name}'"
            raise CorpusError(f"{file.name}: {lack}. {suggestion(name, known)}")


def _lacking_values(file: ProtocolFile, corpus: CheckedCorpus, there: set[str]) -> Iterator[str]:
    """Refuse a value that no clip has; a note on values whose audio files are all bad."""
    lacking = [value for value in chain(*file.folds, file.never_tested) if value not in there]
    bad = {clip.id for clip in corpus.bad}
    damaged = {
        value_of(clip, file.by) for clip in corpus.corpus.clips if clip.id in bad and _is_wanted(file, clip)
    }
    unknown = next((value for value in lacking if value not in damaged), None)
    if unknown is not None:
        where = "".join(f" with {name}={wanted}" for name, wanted in file.only.items())
        found = f"corpus '{corpus.name}' has no clip of it{where}"
        raise CorpusError(f"{file.name} lists {file.by} '{shown(unknown)}'; {found}")
    if lacking:
        named = ", ".join(map(shown, lacking[:_SHOWN]))
        yield f"{len(lacking)} value(s) of the protocol left out because their audio is bad: {named}"


def _is_wanted(file: _File, clip: Clip) -> bool:
    return all(clip.attributes.get(name) == value for name, value in file.only.items())
