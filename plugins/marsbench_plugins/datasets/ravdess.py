"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song, audio-only part.

Livingstone and Russo (2018), PLoS ONE 13(5): e0196391. File names consist of seven fields: modality, vocal
channel, emotion, intensity, statement, repetition, actor.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, get_args

from marsbench.atomic_files import home
from marsbench.data.audio import SUFFIXES
from marsbench.data.corpus import Clip, Corpus
from marsbench.data.download import Archive, unpack
from marsbench.data.labels import EMOTIONS
from marsbench.errors import CorpusError, unknown
from marsbench.hashing import digest
from marsbench.plugin.base import Dataset
from marsbench.progress import Silent
from marsbench_plugins.clip_table import is_table

Channels = Literal["both", "speech", "song"]

_RECORD = "https://zenodo.org/records/1188976/files/"
_PUBLISHED = {"speech": 1440, "song": 1012}
_AUDIO_ONLY_NAME = re.compile(r"03-0[12]-0[1-8]-0[12]-0[12]-0[12]-(0[1-9]|1[0-9]|2[0-4])")
_SUFFIXES = frozenset({".wav", ".flac"})
_ACTOR_FOLDER = re.compile(r"actor[ _-]?\d+|audio_(speech|song)_actors_01-24.*", re.IGNORECASE)
_OUTER_FOLDER = re.compile("speech|song|ravdess|actor", re.IGNORECASE)
_MAX_DEPTH = 32
_MAX_FILES_EXAMINED = 10_000


@dataclass
class Ravdess(Dataset):
    """RAVDESS: 24 actors speak and sing two sentences in eight emotions (CC BY-NC-SA 4.0).

    `root` is a folder that contains the clips (WAV or FLAC, in any sub-folders) or the published zips, or one
    of the zips; by default the folder into which `bench data fetch ravdess` downloads.
    """

    root: str = ""
    channels: Channels = "both"

    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            f"{_RECORD}Audio_Speech_Actors_01-24.zip",
            208_468_073,
            "bc696df654c87fed845eb13823edef8a",
            "speech",
        ),
        Archive(
            f"{_RECORD}Audio_Song_Actors_01-24.zip",
            225_505_317,
            "5411230427d67a21e18aa4d466e6d1b9",
            "song",
        ),
    )

    def __post_init__(self) -> None:
        if self.channels not in get_args(Channels):
            raise ValueError(unknown("channels", str(self.channels), get_args(Channels)))

    def load(self) -> Corpus:
        """List the clips by their file names.

        Raises:
            CorpusError: no clips of these channels were found.
            FetchError: a published zip was found but cannot be unpacked.
        """
        root = Path(self.root).expanduser() if self.root else home() / "data" / "ravdess"
        paths, notes = _one_path_per_name(_folder_of_clips(root))
        clips = tuple(clip for path in paths if self._wants(clip := _clip(path)))
        if not clips:
            what = "RAVDESS" if self.channels == "both" else f"RAVDESS {self.channels}"
            raise CorpusError(
                f"no {what} clips in {root}; download them by `bench data fetch ravdess`, "
                "or use `--data PATH` if you have them"
            )
        present = {clip.label for clip in clips}
        return Corpus(
            name="ravdess" if self.channels == "both" else f"ravdess-{self.channels}",
            labels=tuple(emotion for emotion in EMOTIONS if emotion in present),
            clips=clips,
            licence="CC BY-NC-SA 4.0",
            notes=(*notes, *self._missing(clips)),
        )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the path is, or holds, one of the published zips, or clips in folders as published.

        A table of clips, folders of other names, such as those of classes, and a majority of other clips are
        the user's: their labels are not those of the file names.
        """
        files = [path] if path.is_file() else list(islice(_files(path), _MAX_FILES_EXAMINED))
        audio = [file for file in files if file.suffix.lower() in SUFFIXES]
        if not any(map(_is_clip, audio)):
            return any(file.name in _zip_folders() for file in files)
        if any(file.parent == path and is_table(file) for file in files):
            return False
        return 2 * sum(map(_is_clip, audio)) > len(audio) and _are_in_published_folders(path, audio)

    def _wants(self, clip: Clip) -> bool:
        return self.channels in ("both", clip.attributes["channel"])

    def _missing(self, clips: tuple[Clip, ...]) -> Iterator[str]:
        """A note for each requested channel whose number of clips differs from the published one."""
        counts = Counter(clip.attributes["channel"] for clip in clips)
        for channel, published in _PUBLISHED.items():
            if self.channels in ("both", channel) and counts[channel] != published:
                yield f"{channel}: {counts[channel]:,} clips found, {published:,} were published"


def _folder_of_clips(root: Path) -> Path:
    """`root`, or the folder into which its zips are unpacked if it contains zips and no clips."""
    files = [root] if root.is_file() else list(_files(root))
    zips = {file.name: file for file in files if file.name in _zip_folders()}
    if not zips or any(_is_clip(file) for file in files):
        return root
    stats = {name: path.stat() for name, path in zips.items()}
    key = digest({name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()})
    target = home() / "data" / f"ravdess-{key[:16]}"
    for name, path in zips.items():
        unpack(path, target / _zip_folders()[name], Silent())
    return target


def _zip_folders() -> dict[str, str]:
    return {archive.file_name: archive.folder for archive in Ravdess.archives}


def _are_in_published_folders(root: Path, audio: list[Path]) -> bool:
    """Whether the clips lie in one folder, or in folders of actors within those of a channel."""
    folders = {file.relative_to(root).parts[:-1] for file in audio} if root.is_dir() else set()
    while len({parts[:1] for parts in folders}) == 1 and () not in folders:
        folders = {parts[1:] for parts in folders}  # a single outer folder may have any name
    below = [parts for parts in folders if parts]
    return all(
        _ACTOR_FOLDER.fullmatch(parts[-1]) and all(map(_OUTER_FOLDER.search, parts[:-1])) for parts in below
    )


def _files(root: Path) -> Iterator[Path]:
    """Files below `root`, each folder before its sub-folders; links are followed, each folder once.

    Raises:
        CorpusError: folders nested too deep.
    """
    seen: set[str] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if len(Path(folder).relative_to(root).parts) > _MAX_DEPTH:
            raise CorpusError(
                f"{root}: its folders are nested more than {_MAX_DEPTH} deep; move the audio further up"
            )
        if real in seen:
            below.clear()
        below.sort()
        if real not in seen:
            yield from (Path(folder, name) for name in sorted(names))
        seen.add(real)


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and bool(_AUDIO_ONLY_NAME.fullmatch(path.stem))


def _one_path_per_name(root: Path) -> tuple[list[Path], list[str]]:
    """The least nested file of each clip name, sorted by name, and notes on what was left out."""
    audio = [file for file in _files(root) if file.suffix.lower() in SUFFIXES]
    found = sorted(filter(_is_clip, audio), key=lambda path: (len(path.parts), path), reverse=True)
    chosen = {path.stem: path for path in found}
    notes = []
    if repeated := len(found) - len(chosen):
        notes.append(f"{repeated:,} files left out because another one has the same clip name")
    if others := len(audio) - len(found):
        notes.append(
            f"{others:,} audio files left out because they are not named like RAVDESS audio-only clips"
        )
    return [chosen[stem] for stem in sorted(chosen)], notes


def _clip(path: Path) -> Clip:
    _, channel_field, emotion, intensity, statement, repetition, actor = map(int, path.stem.split("-"))
    channel, speaker = ("speech", "song")[channel_field - 1], f"Actor_{actor:02}"
    return Clip(
        id=f"{channel}/{speaker}/{path.stem}",
        path=path,
        label=EMOTIONS[emotion - 1],
        speaker=speaker,
        attributes={
            "channel": channel,
            "intensity": ("normal", "strong")[intensity - 1],
            "statement": ("kids", "dogs")[statement - 1],
            "repetition": str(repetition),
            "sex": "male" if actor % 2 else "female",
        },
    )
