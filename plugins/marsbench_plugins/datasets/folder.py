"""Corpora on disk: a folder with one sub-folder of audio per class, or a table of clips."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

from marsbench.data.audio import SUFFIXES
from marsbench.data.corpus import Clip, Corpus
from marsbench.data.labels import in_order
from marsbench.data.reading import found_in
from marsbench.errors import ConfigError, CorpusError, suggestion
from marsbench.hashing import slug
from marsbench.plugin.base import Dataset
from marsbench_plugins.clip_table import NO_COLUMNS, TABLES, Row, is_table, read_table
from marsbench_plugins.folder_layout import (
    CLASS,
    SPEAKER,
    Folders,
    infer_layout,
    is_emotion,
    known_levels,
    named_levels,
    parse_layout,
    read_levels,
)
from marsbench_plugins.table_columns import LABEL

MAX_DEPTH = 32
"""Levels of folders that are searched for audio."""
_MAX_FILES_EXAMINED = 10_000
_ENDINGS = ".csv, .tsv or .txt"
_LeftOut = dict[str, list[Path]]
"""Files that are not used, behind what and why."""


@dataclass
class Folder(Dataset):
    r"""Your own clips: a folder with one sub-folder per class, or a table of clips (.csv, .tsv, .txt).

    A table has a header: path, label, optionally speaker, split, start and end (seconds of a segment of the
    file), and further columns, which become attributes of the clips; relative paths are resolved against the
    table's folder. Other usual names of columns, the delimiter and the encoding are recognised and told;
    `--columns` names columns. If a folder contains such a table and fewer than two sub-folders with audio,
    the table is read. A single outer folder, as archives have it, is not counted.

    Folders of a split (train, test, ...) or of speakers above those of the classes are recognised by their
    names and become attributes and speakers. `layout` says what each level of folders is, outermost first:
    'class', 'split/class', 'speaker/class'; other words become attributes, '*' is a level without use.
    Where an expression names the classes (`--label`), audio may lie in any folders, or all in one.

    `labels` is the order of the classes; by default that of RAVDESS if it has all classes, else alphabetical.
    `speaker` is a regular expression that is searched in a clip's id (its path relative to the root); its
    first group, or the whole match, is the speaker, as in `(Actor_\d+)/`. A table's speaker column takes
    precedence.

    Raises:
        ConfigError: `speaker` is not a regular expression, `labels` is not a list of texts, or `layout` does
            not name the class once.
    """

    root: str = ""
    labels: Sequence[str] | None = None
    speaker: str = ""
    layout: str = ""

    fallback: ClassVar[bool] = True
    takes_columns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.root, str):
            raise ConfigError(f"folder: root={self.root!r}; the path of a folder or table is needed")
        if self.layout:
            parse_layout(self.layout)
        texts = self.labels is None or all(isinstance(label, str) for label in self.labels)
        if isinstance(self.labels, str) or not texts:
            raise ConfigError(f"folder: labels={self.labels!r}; a list such as ['sad', 'happy'] is needed")
        try:
            re.compile(self.speaker)
        except (re.error, TypeError) as error:
            raise ConfigError(
                f"folder: speaker={self.speaker!r} is not a regular expression: {error}"
            ) from error

    def load(self) -> Corpus:
        """List the clips.

        Raises:
            CorpusError: no root, neither folders of classes nor a table in it, folders with two possible
                readings, a defect in the table (with its line), folders nested too deep or in a loop of
                symbolic links, or classes that differ from `labels`.
            ConfigError: `speaker` matches no clip's id.
        """
        if not self.root:
            raise CorpusError("folder needs a folder or table to read: use --data PATH")
        root = Path(self.root).expanduser()
        try:
            clips, notes, left_out = self._find(root)
        except OSError as error:
            raise CorpusError(
                f"{error.filename or root} cannot be read: {error.strerror or error}"
            ) from error
        if self.reading.label:
            clips = self._labelled(clips, self.reading.label)
        clips, more = self._with_speakers(clips)
        where = Path(os.path.abspath(root))  # noqa: PTH100 - Path.absolute keeps '..', resolve follows links
        name = slug(where.stem if root.is_file() else where.name)
        told = tuple(
            (what, tuple(path.relative_to(root).as_posix() for path in paths))
            for what, paths in left_out.items()
            if paths
        )
        return Corpus(name, self._classes(clips), tuple(clips), notes=(*notes, *more), left_out=told)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether `path` is a table of clips, a folder with one, or has two sub-folders with audio."""
        try:
            if not path.is_dir():
                return is_table(path)
            base = _base(path, NO_COLUMNS)
            return len(_folders_with_audio(base)) > 1 or len(_tables(base, NO_COLUMNS)) == 1
        except (CorpusError, OSError):
            return False

    def _find(self, root: Path) -> tuple[list[Clip], list[str], _LeftOut]:
        """Clips of a folder or table, notes on how it was read, and what was left out."""
        columns = self._columns()
        if not root.exists():
            raise CorpusError(
                f"{root} does not exist; root must be the folder of your clips or a table of them"
            )
        if root.is_file():
            if root.suffix.lower() not in TABLES:
                raise CorpusError(f"{root} is neither a folder nor a table ({_ENDINGS})")
            return *_from_table(root, root.parent, columns), {}
        base = _base(root, columns)
        notes = [f"classes are the folders in {base.relative_to(root)}"] if base != root else []
        tables = _tables(base, columns)
        if len(tables) == 1 and len(_folders_with_audio(base)) < 2:
            clips, more = _from_table(tables[0], root, columns)
            return clips, [f"read from the table {tables[0].name}", *more], _unlisted(root, clips)
        clips, more, left_out = self._from_folders(root, base)
        if not clips:
            raise CorpusError(_why_no_clips(root))
        ignored = (f"table {table.name} not read; give it as root to read it" for table in tables)
        return clips, [*notes, *more, *ignored], left_out

    def _columns(self) -> Mapping[str, str]:
        """The columns that are asked for; no label is needed of a table where an expression finds it."""
        asked = self.reading.columns
        if self.reading.label:
            return {LABEL: "", **asked}
        if asked.get(LABEL) == "":
            raise ConfigError("--columns label= is for --label REGEX, which finds the classes in the paths")
        return asked

    def _from_folders(self, root: Path, base: Path) -> tuple[list[Clip], list[str], _LeftOut]:
        """Clips by the folders below `base`, with ids relative to `root`; the rest as `_find`."""
        files = list(_files_below(root))
        audio = [path for path in files if _is_audio(path)]
        others = {"files left out that are not audio": [path for path in files if not _is_audio(path)]}
        if self.reading.label and audio:
            return self._in_any_folders(root, audio), [], others
        inside = {path: path.relative_to(base).parts[:-1] for path in audio if path.is_relative_to(base)}
        layout = self._layout(root, {folders for folders in inside.values() if folders})
        found = [_clip(root, path, layout, folders) for path, folders in inside.items() if folders]
        clips = [clip for clip in found if clip]
        used = {folders[0] for folders in inside.values() if folders}
        empty = [folder.name for folder in _class_folders(base) if folder.name not in used]
        there = {clip.path for clip in clips}
        unused = {"audio files left out that are in no class's folder": [p for p in audio if p not in there]}
        return clips, _notes(layout, empty), unused | others

    def _in_any_folders(self, root: Path, audio: list[Path]) -> list[Clip]:
        """Clips without a label, whatever folders they lie in."""
        ids = [_checked_text(path.relative_to(root).as_posix()) for path in audio]
        folders = [tuple(name.split("/")[:-1]) for name in ids]
        layout = parse_layout(self.layout) if self.layout else known_levels(folders)
        found = [named_levels(layout, above) for above in folders]
        rows = zip(ids, audio, found, strict=True)
        return [Clip(name, path, "", values.pop(SPEAKER, None), values) for name, path, values in rows]

    def _labelled(self, clips: list[Clip], pattern: str) -> list[Clip]:
        """Clips with the class that an expression finds in their ids."""
        try:
            labels = found_in("label", pattern, [clip.id for clip in clips])
        except ValueError as error:
            raise ConfigError(f"--label {error}") from error
        return [replace(clip, label=label) for clip, label in zip(clips, labels, strict=True)]

    def _layout(self, root: Path, folders: set[Folders]) -> Folders:
        if self.layout or not folders:
            return parse_layout(self.layout or CLASS)
        return infer_layout(
            str(root), folders, self.labels, speaker_is_known=bool(self.speaker or self.reading.speaker)
        )

    def _classes(self, clips: Sequence[Clip]) -> tuple[str, ...]:
        found = {clip.label for clip in clips}
        if self.labels:
            for label in self.labels:
                if label not in found:
                    raise CorpusError(f"{self.root}: no clip of class '{label}'. {suggestion(label, found)}")
            return tuple(self.labels)
        return in_order(found)

    def _with_speakers(self, clips: list[Clip]) -> tuple[list[Clip], list[str]]:
        """Clips with speakers from their ids, and a note if the pattern does not match some ids."""
        if not self.speaker:
            return clips, []
        named = [clip if clip.speaker else replace(clip, speaker=self._speaker_in(clip.id)) for clip in clips]
        unnamed = [clip.id for clip in named if not clip.speaker]
        if len(unnamed) == len(named):
            raise ConfigError(f"folder: speaker='{self.speaker}' matches no clip id, such as '{unnamed[0]}'")
        return named, [f"clips without a speaker: {len(unnamed):,}, such as {unnamed[0]}"] if unnamed else []

    def _speaker_in(self, clip_id: str) -> str | None:
        match = re.search(self.speaker, clip_id)
        return (match[1 if match.re.groups else 0] or None) if match else None


def _base(root: Path, columns: Mapping[str, str]) -> Path:
    """`root`, or the folder of the classes or table within a single outer folder, as archives have it."""
    base = root
    for _ in range(MAX_DEPTH):
        below = _folders_with_audio(base)
        if _tables(base, columns) or len(below) > 1:
            return base
        if len(below) != 1 or is_emotion(below[0].name):
            return root
        base = below[0]
    return root


def _why_no_clips(root: Path) -> str:
    tables = [entry.name for entry in _entries(root) if entry.suffix.lower() in TABLES]
    found = f" (found: {', '.join(tables)}; give one of them as --data)" if tables else ""
    audio = next((entry.name for entry in _entries(root) if _is_audio(entry)), None)
    found += f"; if names such as {audio} tell the class: --label REGEX" if audio else ""
    return (
        f"{root} has neither sub-folders of audio, one per class, nor exactly one table ({_ENDINGS}) with "
        f"columns path and label{found}"
    )


def _from_table(table: Path, root: Path, columns: Mapping[str, str]) -> tuple[list[Clip], list[str]]:
    """Clips with ids relative to `root`, or to where all of them are, and notes on what was guessed."""
    rows, notes = read_table(table, columns)
    base = _common_base(Path(os.path.normpath(root)), [row.path for row in rows])
    return [_row_clip(base, row) for row in rows], notes


def _common_base(base: Path, paths: Sequence[Path]) -> Path:
    """`base` if some of the paths are below it, else the innermost folder with all of them.

    So ids are the same on every machine; paths that have no more in common than a root keep `base`.
    """
    if any(path.is_relative_to(base) for path in paths):
        return base
    try:
        common = Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # on several drives
        return base
    return base if common == Path(common.anchor) else common


def _row_clip(base: Path, row: Row) -> Clip:
    below = row.path.is_relative_to(base)
    name = (row.path.relative_to(base) if below else row.path.absolute()).as_posix()
    part = "" if row.start is None else f"#{_shown(row.start)}-{_shown(row.end)}"
    return Clip(
        id=_checked_text(name + part),
        path=row.path,
        label=_checked_text(row.label),
        speaker=row.speaker,
        attributes=row.others,
        start=row.start,
        end=row.end,
    )


def _shown(seconds: float | None) -> str:
    """Seconds with three decimal places, or more where the time has more; empty for the end of a file."""
    if seconds is None:
        return ""
    return f"{seconds:.3f}" if round(seconds, 3) == seconds else f"{seconds:.9f}".rstrip("0")


def _unlisted(root: Path, clips: list[Clip]) -> _LeftOut:
    """The audio files below `root` that a table does not list."""
    listed = {os.path.normpath(clip.path) for clip in clips}
    audio = filter(_is_audio, _files_below(root))
    unlisted = [path for path in audio if os.path.normpath(path) not in listed]
    return {"audio files left out that the table does not list": unlisted}


def _clip(root: Path, path: Path, layout: Folders, folders: Folders) -> Clip | None:
    """The clip of a file in these folders; None if it lies above those of the classes."""
    values = read_levels(layout, tuple(map(_checked_text, folders)))
    if values is None:
        return None
    others = {name: value for name, value in values.items() if name not in (CLASS, SPEAKER)}
    name = _checked_text(path.relative_to(root).as_posix())
    return Clip(name, path, values[CLASS], values.get(SPEAKER), others)


def _notes(layout: Folders, without_audio: list[str]) -> list[str]:
    notes = [f"folders are read as {'/'.join(layout)}"] if len(layout) > 1 else []
    if without_audio:
        notes.append(f"sub-folders without audio left out: {', '.join(without_audio)}")
    return notes


def _class_folders(root: Path) -> list[Path]:
    return [entry for entry in _entries(root) if entry.is_dir()]


def _folders_with_audio(root: Path) -> list[Path]:
    return [folder for folder in _class_folders(root) if _seems_to_hold_audio(folder)]


def _tables(root: Path, columns: Mapping[str, str]) -> list[Path]:
    return [entry for entry in _entries(root) if is_table(entry, columns)]


def _seems_to_hold_audio(folder: Path) -> bool:
    return any(_is_audio(path) for path in islice(_files_below(folder), _MAX_FILES_EXAMINED))


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _files_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Files below `folder`, sorted; symbolic links are followed.

    Folders that are named like audio files are included, so that the audio check reports them.
    """
    real = os.path.realpath(folder)
    if len(above) > MAX_DEPTH:
        raise CorpusError(
            f"{above[0]}: its folders are nested more than {MAX_DEPTH} deep; move the audio further up"
        )
    if real in above:
        raise CorpusError(f"{folder} is a link to one of its own parent folders; remove the link")
    for entry in _entries(folder):
        if entry.is_dir() and not _is_audio(entry):
            yield from _files_below(entry, (*above, real))
        else:
            yield entry


def _entries(folder: Path) -> list[Path]:
    """Entries of `folder` that are not hidden, sorted."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _checked_text(name: str) -> str:
    """`name` in composed form (NFC), as macOS returns decomposed names."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"the file name {name!a} is not UTF-8; rename the file") from error
    return unicodedata.normalize("NFC", name)
