"""Any corpus on disk: a folder with one sub-folder of audio for each class, or a table of clips."""

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

_MOST_LOOKED_AT = 10_000


@dataclass
class Folder(Dataset):
    r"""Your own clips: a folder with one sub-folder for each class, or a CSV or TSV table of clips.

    A table is UTF-8 with a header: path, label, optionally speaker, and any further columns, which become the
    clips' attributes; relative paths start at the table's folder. A folder with such a table and fewer than
    two sub-folders with audio is read by its table.

    `labels` is the order of classes; None takes RAVDESS's order where all classes are of it, else sorts them.
    `speaker` is a regular expression searched in a clip's id (its path below the root); the first group, or
    the whole match, is the speaker, as in `(Actor_\d+)/`. A table's speaker column goes before it.

    Raises:
        ConfigError: `speaker` is no regular expression, or `labels` no list of texts.
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
                f"folder: speaker={self.speaker!r} is no regular expression: {error}"
            ) from error

    def load(self) -> Corpus:
        """Make the clip table.

        Raises:
            CorpusError: no root, neither layout in it, a defect in the table (with its line), a link that
                leads in a circle, or classes that do not fit.
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
        """Whether `path` is a table of clips, or a folder of one, or has two sub-folders with audio."""
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
        """Clips with the speaker that their id tells, and a note if some tell none."""
        if not self.speaker:
            return clips, []
        told = [clip if clip.speaker else replace(clip, speaker=self._speaker_in(clip.id)) for clip in clips]
        mute = [clip.id for clip in told if not clip.speaker]
        if len(mute) == len(told):
            raise ConfigError(f"folder: speaker='{self.speaker}' matches no clip id, such as '{mute[0]}'")
        return told, [f"clips without a speaker: {len(mute):,}, such as {mute[0]}"] if mute else []

    def _speaker_in(self, clip_id: str) -> str | None:
        match = re.search(self.speaker, clip_id)
        return (match[1 if match.re.groups else 0] or None) if match else None


def _find(root: Path) -> tuple[list[Clip], list[str]]:
    """Clips of whichever layout `root` has, and notes on what was left out."""
    if not root.exists():
        raise CorpusError(f"there is no {root}; give the folder of your clips or a table of them as root")
    if root.is_file():
        if root.suffix.lower() not in DELIMITERS:
            raise CorpusError(f"{root} is neither a folder nor a table (.csv or .tsv)")
        return _from_table(root), []
    clips, notes = _from_folders(root)
    tables = _tables(root)
    if len({clip.label for clip in clips}) < 2 and len(tables) == 1:
        return _from_table(tables[0]), [f"read by its table, {tables[0].name}"]
    if not clips:
        raise CorpusError(_why_no_clips(root))
    return clips, [*notes, *(f"table {table.name} not read; name it as root to read it" for table in tables)]


def _why_no_clips(root: Path) -> str:
    named_so = [entry.name for entry in _entries(root) if entry.suffix.lower() in DELIMITERS]
    found = f" (found: {', '.join(named_so)})" if named_so else ""
    return (
        f"{root} has neither sub-folders of audio, one for each class, nor one table (.csv or .tsv) with "
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
    silent: list[str] = []
    others = sum(1 for entry in _entries(root) if not entry.is_dir())
    for folder in _class_folders(root):
        label = _checked_text(folder.name)
        files = list(_files_below(folder))
        audio = [path for path in files if _is_audio(path)]
        others += len(files) - len(audio)
        clips += [Clip(_checked_text(path.relative_to(root).as_posix()), path, label) for path in audio]
        if not audio:
            silent.append(label)
    return clips, _notes(silent, others)


def _notes(silent: list[str], others: int) -> list[str]:
    notes = [f"sub-folders without audio left out: {', '.join(silent)}"] if silent else []
    if others:
        notes.append(f"files that are no audio in a class's folder left out: {others:,}")
    return notes


def _class_folders(root: Path) -> list[Path]:
    return [entry for entry in _entries(root) if entry.is_dir()]


def _tables(root: Path) -> list[Path]:
    return [entry for entry in _entries(root) if is_table(entry)]


def _seems_to_hold_audio(folder: Path) -> bool:
    return any(_is_audio(path) for path in islice(_files_below(folder), _MOST_LOOKED_AT))


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _files_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Files below `folder` in order, and folders that are named like audio: a check of the audio names them.

    Links are followed.
    """
    real = os.path.realpath(folder)
    if real in above:
        raise CorpusError(f"{folder} is a link that leads back into a folder above it; remove the link")
    for entry in _entries(folder):
        if entry.is_dir() and not _is_audio(entry):
            yield from _files_below(entry, (*above, real))
        else:
            yield entry


def _entries(folder: Path) -> list[Path]:
    """What is in `folder` and not hidden, in an order that no file system decides."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _checked_text(name: str) -> str:
    """`name` composed (NFC), for macOS hands out decomposed names."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"the file name {name!a} is not UTF-8; rename the file") from error
    return unicodedata.normalize("NFC", name)
