"""Corpora on disk: a folder with one sub-folder of audio per class, or a table of clips."""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

from marsbench.data.audio import SUFFIXES
from marsbench.data.corpus import EMOTIONS, Clip, Corpus
from marsbench.errors import ConfigError, CorpusError, suggestion
from marsbench.hashing import slug
from marsbench.plugin.dataset import Dataset
from marsbench_plugins.clip_table import DELIMITERS, Row, is_table, read_table

_MAX_FILES_EXAMINED = 10_000


@dataclass
class Folder(Dataset):
    r"""Your own clips: a folder with one sub-folder per class, or a CSV or TSV table of clips.

    A table is UTF-8 with a header: path, label, optionally speaker, and further columns, which become
    attributes of the clips; relative paths are resolved against the table's folder. If a folder contains such
    a table and fewer than two sub-folders with audio, the table is read.

    `labels` is the order of the classes; by default that of RAVDESS if it has all classes, else alphabetical.
    `speaker` is a regular expression that is searched in a clip's id (its path relative to the root); its
    first group, or the whole match, is the speaker, as in `(Actor_\d+)/`. A table's speaker column takes
    precedence.

    Raises:
        ConfigError: `speaker` is not a regular expression, or `labels` is not a list of texts.
    """

    root: str = ""
    labels: Sequence[str] | None = None
    speaker: str = ""

    fallback: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.root, str):
            raise ConfigError(f"folder: root={self.root!r}; the path of a folder or table is needed")
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
            CorpusError: no root, neither layout in it, a defect in the table (with its line), a symbolic link
                that forms a loop, or classes that differ from `labels`.
            ConfigError: `speaker` matches no clip's id.
        """
        if not self.root:
            raise CorpusError("folder needs a folder or table to read: use --data PATH")
        root = Path(self.root).expanduser()
        try:
            clips, notes = _find(root)
        except OSError as error:
            raise CorpusError(
                f"{error.filename or root} cannot be read: {error.strerror or error}"
            ) from error
        clips, more = self._with_speakers(clips)
        where = Path(os.path.abspath(root))  # noqa: PTH100 - Path.absolute keeps '..', resolve follows links
        name = slug(where.stem if root.is_file() else where.name)
        return Corpus(name, self._classes(clips), tuple(clips), notes=(*notes, *more))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether `path` is a table of clips, a folder with one, or has two sub-folders with audio."""
        try:
            if not path.is_dir():
                return is_table(path)
            with_audio = (folder for folder in _class_folders(path) if _seems_to_hold_audio(folder))
            return len(list(islice(with_audio, 2))) == 2 or len(_tables(path)) == 1
        except (CorpusError, OSError):
            return False

    def _classes(self, clips: Sequence[Clip]) -> tuple[str, ...]:
        found = {clip.label for clip in clips}
        if self.labels:
            for label in self.labels:
                if label not in found:
                    raise CorpusError(f"{self.root}: no clip of class '{label}'. {suggestion(label, found)}")
            return tuple(self.labels)
        if found <= set(EMOTIONS):
            return tuple(emotion for emotion in EMOTIONS if emotion in found)
        return tuple(sorted(found))

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


def _find(root: Path) -> tuple[list[Clip], list[str]]:
    """Clips of a folder or table, and notes on what was left out."""
    if not root.exists():
        raise CorpusError(f"{root} does not exist; root must be the folder of your clips or a table of them")
    if root.is_file():
        if root.suffix.lower() not in DELIMITERS:
            raise CorpusError(f"{root} is neither a folder nor a table (.csv or .tsv)")
        return _from_table(root), []
    clips, notes = _from_folders(root)
    tables = _tables(root)
    if len({clip.label for clip in clips}) < 2 and len(tables) == 1:
        return _from_table(tables[0]), [f"read from the table {tables[0].name}"]
    if not clips:
        raise CorpusError(_why_no_clips(root))
    return clips, [*notes, *(f"table {table.name} not read; give it as root to read it" for table in tables)]


def _why_no_clips(root: Path) -> str:
    tables = [entry.name for entry in _entries(root) if entry.suffix.lower() in DELIMITERS]
    found = f" (found: {', '.join(tables)})" if tables else ""
    return (
        f"{root} has neither sub-folders of audio, one per class, nor exactly one table (.csv or .tsv) with "
        f"columns path and label{found}"
    )


def _from_table(table: Path) -> list[Clip]:
    return [_row_clip(table, row) for row in read_table(table)]


def _row_clip(table: Path, row: Row) -> Clip:
    others = dict(row.others)
    speaker = others.pop("speaker", None)
    base = Path(os.path.normpath(table.parent))
    below = row.path.is_relative_to(base)
    name = (row.path.relative_to(base) if below else row.path.absolute()).as_posix()
    return Clip(_checked_text(name), row.path, _checked_text(row.label), speaker, others)


def _from_folders(root: Path) -> tuple[list[Clip], list[str]]:
    clips: list[Clip] = []
    without_audio: list[str] = []
    others = sum(1 for entry in _entries(root) if not entry.is_dir())
    for folder in _class_folders(root):
        label = _checked_text(folder.name)
        files = list(_files_below(folder))
        audio = [path for path in files if _is_audio(path)]
        others += len(files) - len(audio)
        clips += [Clip(_checked_text(path.relative_to(root).as_posix()), path, label) for path in audio]
        if not audio:
            without_audio.append(label)
    return clips, _notes(without_audio, others)


def _notes(without_audio: list[str], others: int) -> list[str]:
    notes = [f"sub-folders without audio left out: {', '.join(without_audio)}"] if without_audio else []
    if others:
        notes.append(f"files left out that are not audio in a class's folder: {others:,}")
    return notes


def _class_folders(root: Path) -> list[Path]:
    return [entry for entry in _entries(root) if entry.is_dir()]


def _tables(root: Path) -> list[Path]:
    return [entry for entry in _entries(root) if is_table(entry)]


def _seems_to_hold_audio(folder: Path) -> bool:
    return any(_is_audio(path) for path in islice(_files_below(folder), _MAX_FILES_EXAMINED))


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _files_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Files below `folder`, sorted; symbolic links are followed.

    Folders that are named like audio files are included, so that the audio check reports them.
    """
    real = os.path.realpath(folder)
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
