"""The base of published corpora: what their file names tell, and what was published.

A corpus is a class of few lines: a regular expression over the path of a clip, the words for its codes, and
the published counts. Where labels are not in the names, it reads them from the corpus's own files.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from marsbench.atomic_files import home
from marsbench.data.audio import SUFFIXES
from marsbench.data.corpus import Clip, Corpus
from marsbench.data.download import unpack
from marsbench.data.folders import files_below
from marsbench.errors import CorpusError, shown_path
from marsbench.hashing import digest
from marsbench.plugin.base import Dataset
from marsbench.progress import Silent
from marsbench_plugins.clip_table import is_table

Words = Mapping[str, Mapping[str, str]]
"""Words for codes in file names, by the values that they are codes of."""


def codes(**tables: str) -> Words:
    """Words for codes, by value, from texts such as `F=female M,X=male`."""
    pairs = {name: [pair.partition("=") for pair in text.split()] for name, text in tables.items()}
    return {
        name: {code: word for left, _, word in found for code in left.split(",")}
        for name, found in pairs.items()
    }


def counts(text: str) -> Mapping[str, int]:
    """Numbers by name from a text such as `neutral=79 anger=127`."""
    return {name: int(number) for name, _, number in (pair.partition("=") for pair in text.split())}


_LABEL, _SPEAKER = "label", "speaker"
_LOSSLESS = frozenset({".wav", ".flac"})
_ZIP = frozenset({".zip"})
_EXAMINED = 20_000
"""Files that are looked at to recognise a corpus."""


@dataclass
class PublishedCorpus(Dataset):
    """Clips whose names, or whose corpus's own files, tell label, speaker and more.

    `root` is a folder that contains the clips in any sub-folders, or the published zips, or one of the zips;
    by default the folder into which `bench data fetch` downloads.
    """

    root: str = ""

    labels_by_name = True
    title: ClassVar[str] = ""
    """The corpus's own name."""
    pattern: ClassVar[str] = ""
    """Regular expression for the end of a clip's path, without the suffix; '/' is between folders. Its named
    groups are values of the clip: label and speaker, all others are attributes. A lookahead gives a text a
    second meaning, as in `(?=(?P<sex>[FM]))(?P<speaker>[FM]\\d\\d)`."""
    words: ClassVar[Words] = {}
    """Words for the codes in these groups; others are kept, except as labels where some have words."""
    folders: ClassVar[str] = ""
    """Regular expression, in any case, for each published folder that clips lie in; those that hold all clips
    may have any name. In folders of other names the clips are the user's, with labels of their own."""
    suffixes: ClassVar[frozenset[str]] = SUFFIXES
    clip_id: ClassVar[str] = "{stem}"
    """A clip's id, made of its values and the stem of its file's name."""
    speaker_id: ClassVar[str] = "{speaker}"
    """A clip's speaker, made of its values."""
    label_files: ClassVar[str] = ""
    """Which of the corpus's files have labels, as a glob pattern; empty if the names tell all."""
    label_pattern: ClassVar[str] = ""
    """Regular expression for what they tell of a clip: the group `clip` is its id, others are values."""
    published: ClassVar[Mapping[str, int]] = {}
    """Numbers of published clips that have a label, by class, in the order of the classes."""
    counted: ClassVar[str] = _LABEL
    """The value that `published` counts by."""

    def load(self) -> Corpus:
        """List the clips by their file names and the corpus's files of labels.

        Raises:
            CorpusError: no clips, or none with a label; says how to get the corpus, or what lacks.
            FetchError: a published zip was found but cannot be unpacked.
        """
        root = Path(self.root).expanduser() if self.root else home() / "data" / self.name
        folder = self._folder_of_clips(root)
        named, left_out = self._found(folder)
        found = {name: one for name, one in named.items() if self.part in ("", one[1].get(self.counted))}
        what = f"{self.title} {self.part}".strip()
        if not found:
            raise CorpusError(f"no {what} clips in {shown_path(root)}; {self._how_to_get()}")
        labels = self._labels(folder)
        made = (self._clip(name, *found[name], labels.get(name, {})) for name in found)
        clips = [clip for clip in made if clip]
        if not clips:
            raise CorpusError(
                f"none of the {len(found):,} {what} clips in {shown_path(root)} has a label; {self.title}'s "
                f"files {self.label_files} have them and must be in that folder too"
            )
        there = {clip.id for clip in clips}
        if lacking := tuple(name for name in found if name not in there):
            left_out.append((f"clips left out that {self.title} gives no label", lacking))
        present = {clip.label for clip in clips}
        ordered = dict.fromkeys([*self.words.get(_LABEL, {}).values(), *self.published])
        return Corpus(
            name="-".join(filter(None, (self.name, self.part))),
            labels=tuple(label for label in ordered if label in present),
            clips=tuple(clips),
            licence=self.licence,
            notes=tuple(self._differences(clips)),
            left_out=tuple(left_out),
        )

    @property
    def part(self) -> str:
        """The value of `counted` that clips must have to be used; empty for all clips."""
        return ""

    def refined(self, told: dict[str, str]) -> dict[str, str]:
        """Values of a clip, from those that its path tells, in words."""
        return told

    def read_labels(self, name: str, text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Ids and values of the clips that a file of this name and content lists, by `label_pattern`.

        Raises:
            KeyError: it lacks a column.
        """
        for match in re.finditer(self.label_pattern, text, re.MULTILINE):
            values = match.groupdict()
            yield values.pop("clip"), values

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the path is, or holds, one of the published zips, or clips in folders as published.

        A table of clips, folders of other names, such as those of classes, and a majority of other clips are
        the user's: their labels may not be those of the file names.
        """
        if path.is_file():
            return path.name in cls._zip_folders()
        files = files_below(path, SUFFIXES | cls.suffixes | _ZIP, _EXAMINED)
        audio = [file for file in files if file.suffix.lower() not in _ZIP]
        named = sum(cls._match(path, file) is not None for file in audio)
        if not audio:
            return any(file.name in cls._zip_folders() for file in files)
        if 2 * named <= len(audio):
            return False
        top = Path(os.path.commonpath([file.parent for file in audio]))
        outer = [top, *(folder for folder in top.parents if folder.is_relative_to(path))]
        if any(_is_users_table(file) for folder in outer for file in folder.iterdir()):
            return False
        below = {name for file in audio for name in file.relative_to(top).parts[:-1]}
        return all(re.fullmatch(cls.folders, name, re.IGNORECASE) for name in below)

    @classmethod
    def _match(cls, root: Path, path: Path) -> re.Match[str] | None:
        # As texts: a dozen corpora look at each of thousands of files, and making paths takes longer.
        name, _, ending = str(path).rpartition(".")
        if f".{ending.lower()}" not in cls.suffixes:
            return None
        below = name[len(str(root)) :].lstrip(os.sep).replace(os.sep, "/")
        return re.search(f"(?:^|/){cls.pattern}$", below)

    @classmethod
    def _zip_folders(cls) -> dict[str, str]:
        return {archive.file_name: archive.folder for archive in cls.archives}

    def _folder_of_clips(self, root: Path) -> Path:
        """`root`, or the folder into which its zips are unpacked if it contains zips and no clips."""
        files = [root] if root.is_file() else files_below(root, _ZIP)
        zips = {file.name: file for file in files if file.name in self._zip_folders()}
        if not zips or any(self._match(root, path) for path in files_below(root, self.suffixes)):
            return root
        stats = {name: path.stat() for name, path in zips.items()}
        key = digest({name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()})
        target = home() / "data" / f"{self.name}-{key[:16]}"
        for name, path in zips.items():
            unpack(path, target / self._zip_folders()[name], Silent())
        return target

    def _found(
        self, root: Path
    ) -> tuple[dict[str, tuple[Path, dict[str, str]]], list[tuple[str, tuple[str, ...]]]]:
        """Path and values of each clip, by id, sorted by name, and what is left out, as `Corpus.left_out`.

        Of several files of one id the lossless and least nested one is chosen.
        """
        audio = files_below(root, SUFFIXES | self.suffixes)
        named = [(path, match) for path in audio if (match := self._match(root, path))]
        named.sort(key=lambda pair: (pair[0].suffix.lower() not in _LOSSLESS, len(pair[0].parts), pair[0]))
        found: dict[str, tuple[Path, dict[str, str]]] = {}
        for path, match in named:
            told = {name: text for name, text in match.groupdict().items() if text is not None}
            values = self.refined(self._in_words(told))
            found.setdefault(self.clip_id.format(**values, stem=path.stem), (path, values))
        used = {path for path, _ in found.values()}
        left_out = {
            "files left out that have another one's clip name": [p for p, _ in named if p not in used],
            f"audio files left out that are not named like {self.title} clips": sorted(
                set(audio) - {path for path, _ in named}
            ),
        }
        unused = [
            (what, tuple(path.relative_to(root).as_posix() for path in paths))
            for what, paths in left_out.items()
            if paths
        ]
        return dict(sorted(found.items(), key=lambda pair: (pair[1][0].stem, pair[0]))), unused

    def _labels(self, root: Path) -> dict[str, dict[str, str]]:
        """What the corpus's own files tell of its clips, in words, by id."""
        labels: dict[str, dict[str, str]] = {}
        for path in sorted(root.rglob(self.label_files)) if self.label_files else ():
            if path.name.startswith("."):
                continue
            try:
                rows = dict(self.read_labels(path.name, path.read_text("utf-8-sig", "replace")))
            except KeyError as error:
                raise CorpusError(f"{shown_path(path)} has no column {error}; {self.title} has it") from error
            labels |= {name: self._in_words(values) for name, values in rows.items()}
        return labels

    def _in_words(self, codes: Mapping[str, str]) -> dict[str, str]:
        """Words for codes; a code without one is kept, except that of a label if the others have words."""
        values = {name: self.words.get(name, {}).get(code, code) for name, code in codes.items()}
        if _LABEL in codes and codes[_LABEL] not in self.words.get(_LABEL, codes.values()):
            del values[_LABEL]
        return values

    def _clip(self, name: str, path: Path, named: dict[str, str], listed: dict[str, str]) -> Clip | None:
        """A clip with what its name and the corpus's files tell; None if neither tells its label."""
        values = named | listed
        if _LABEL not in values:
            return None
        speaker = self.speaker_id.format(**values)
        others = {key: value for key, value in values.items() if key not in (_LABEL, _SPEAKER)}
        return Clip(name, path, values[_LABEL], speaker, others)

    def _differences(self, clips: Sequence[Clip]) -> Iterator[str]:
        """A note if the numbers of clips differ from the published ones."""
        published = {value: n for value, n in self.published.items() if self.part in ("", value)}
        by_label = self.counted == _LABEL
        found = Counter(clip.label if by_label else clip.attributes[self.counted] for clip in clips)
        unequal = [
            f"{value} {found[value]:,} of {n:,}" for value, n in published.items() if found[value] != n
        ]
        if unequal:
            total = sum(published.values())
            yield f"{len(clips):,} clips found, {total:,} were published ({', '.join(unequal)})"

    def _how_to_get(self) -> str:
        if self.archives:
            return f"download them by `bench data fetch {self.name}`, or use `--data PATH` if you have them"
        return f"{self.access}; then use `--data PATH`"


def _is_users_table(path: Path) -> bool:
    """Whether it is a table of clips, other than those of audformat, in which corpora are published."""
    return is_table(path) and not (path.parent / "db.yaml").exists()
