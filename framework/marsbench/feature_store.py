"""Content-addressed cache of extracted features.

    <home>/features/<extractor>-<key>/<corpus>.f32    all clips' arrays end to end, float32 (rows, n_dims)
    <home>/features/<extractor>-<key>/<corpus>.json   which clip each stretch of rows belongs to

The key covers the extractor's name, parameters, local source and library versions, and the decoder's source;
a clip is known by the sha256 of its audio bytes. So nothing stale can be read: another extractor is another
folder, other audio another clip. Extraction writes parts of the same form as it goes; an interrupted one
finds its clips in them, and another corpus finds the clips that it shares.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from marsbench import audio
from marsbench.audio import decode, read_bytes, resample
from marsbench.corpus import CheckedCorpus, Clip
from marsbench.errors import BenchError, PluginError
from marsbench.files import digest, home, write_atomically, write_text
from marsbench.parallel import map_in_processes
from marsbench.plugin.features import FeatureExtractor, FeatureKind, Features, Floats, pad
from marsbench.plugin.registry import Recipe, make
from marsbench.progress import Progress, Silent

_CHUNK = 16
"""Clips handed to a worker at a time."""
_PART = 512
"""Clips written to disk at a time: what an interruption can cost."""


@dataclass(frozen=True)
class FeatureFile:
    """Features of clips in a fixed order, in one file that is mapped into memory."""

    path: Path

    def __reduce__(self) -> tuple[type["FeatureFile"], tuple[Path]]:
        return FeatureFile, (self.path,)  # a worker maps the file itself

    @property
    def kind(self) -> FeatureKind:
        """`frames` or `vector`."""
        return cast("FeatureKind", self._index["kind"])

    @property
    def clips(self) -> list[str]:
        """sha256 of each clip's audio bytes, in order."""
        return cast("list[str]", self._index["clips"])

    def is_whole(self) -> bool:
        """Whether the array and its index are there and belong together."""
        try:
            return bool(self.path.stat().st_size == 4 * sum(self._index["lengths"]) * self._index["n_dims"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def read(self, positions: Iterable[int]) -> Features:
        """Features of the clips at `positions`, padded to one length."""
        return pad([self.array(position) for position in positions], self._index["n_frames"])

    def array(self, position: int) -> Floats:
        """One clip's features, unpadded, a view of the file."""
        rows = self._rows[self._starts[position] : self._starts[position + 1]]
        return rows if self.kind == "frames" else rows[0]

    @cached_property
    def _index(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.path.with_suffix(".json").read_text("utf-8")))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self._index["lengths"], dtype=np.int64)])

    @cached_property
    def _rows(self) -> Floats:
        shape = (int(self._starts[-1]), self._index["n_dims"])
        return np.memmap(self.path, np.dtype("<f4"), "r", shape=shape)


class FeatureStore:
    """The features of one extractor with one set of parameters."""

    def __init__(self, recipe: Recipe, folders: tuple[Path, ...], root: Path | None = None) -> None:
        self._recipe = recipe
        self._folders = folders
        self._extractor = cast("FeatureExtractor", make("features", recipe, folders))
        key = digest([recipe.key, audio.DECODER, Path(audio.__file__).read_text("utf-8")])
        self.folder = (root or store_root()) / f"{recipe.name}-{key[:24]}"

    def features_of(
        self, corpus: CheckedCorpus, workers: int = 1, progress: Progress | None = None
    ) -> FeatureFile:
        """Features of every clip of `corpus`, in its order; extracts only what no file here holds yet.

        Raises:
            PluginError: the extractor failed on a clip or broke its contract; names both.
        """
        progress = progress or Silent()
        wanted = [facts.sha256 for facts in corpus.facts]
        whole = FeatureFile(self.folder / f"{digest(wanted)[:24]}.f32")
        if whole.is_whole():
            progress.say(f"{self._recipe.name}: all {len(wanted)} clips from the store")
            return whole
        known = self._known()
        n_known = sum(sha256 in known for sha256 in wanted)
        progress.say(f"{self._recipe.name}: {n_known} of {len(wanted)} clips from the store")
        clips = dict(zip(wanted, corpus.clips, strict=True))
        missing = {sha256: clip for sha256, clip in clips.items() if sha256 not in known}
        self._extract(missing, workers, progress)
        places = self._known()
        self._write(whole.path, wanted, (places[sha][0].array(places[sha][1]) for sha in wanted))
        self._drop_parts(set(wanted))
        return whole

    def _drop_parts(self, wanted: set[str]) -> None:
        """Remove parts that the whole file has made needless; another process may be writing others."""
        for path in self.folder.glob("part-*.f32"):
            part = FeatureFile(path)
            if part.is_whole() and wanted.issuperset(part.clips):
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)

    def _known(self) -> dict[str, tuple[FeatureFile, int]]:
        """Where each clip's features stand, over all files of this extractor."""
        known: dict[str, tuple[FeatureFile, int]] = {}
        for path in sorted(self.folder.glob("*.f32")):
            file = FeatureFile(path)
            if file.is_whole():
                known |= {clip: (file, position) for position, clip in enumerate(file.clips)}
        return known

    def _extract(self, missing: dict[str, Clip], workers: int, progress: Progress) -> None:
        clips = [(sha256, clip.path) for sha256, clip in missing.items()]
        chunks = [clips[start : start + _CHUNK] for start in range(0, len(clips), _CHUNK)]
        waiting: dict[str, Floats] = {}
        try:
            with progress.track(f"Extracting {self._recipe.name}", len(clips)) as advance:
                for arrays in map_in_processes(_Extraction(self._recipe, self._folders), chunks, workers):
                    waiting |= arrays
                    advance(len(arrays))
                    if len(waiting) >= _PART:
                        self._write_part(waiting)
                        waiting = {}
        finally:  # also after Ctrl-C: what was extracted is kept
            if waiting:
                self._write_part(waiting)

    def _write_part(self, arrays: dict[str, Floats]) -> None:
        name = f"part-{digest(list(arrays))[:24]}.f32"
        self._write(self.folder / name, list(arrays), arrays.values())

    def _write(self, path: Path, clips: list[str], arrays: Iterable[Floats]) -> None:
        """Stream arrays into the file, then write the index: only with it does the file count."""
        shapes: list[tuple[int, int]] = []

        def stream(file: IO[bytes]) -> None:
            for array in arrays:
                rows = np.atleast_2d(array)
                shapes.append((rows.shape[0], rows.shape[1]))
                file.write(np.ascontiguousarray(rows, "<f4").tobytes())

        write_atomically(path, stream)
        if len({dims for _, dims in shapes}) > 1:
            raise PluginError(f"{self._recipe.name}.extract returned different numbers of dimensions by clip")
        lengths = [length for length, _ in shapes]
        n_frames = self._extractor.n_frames or max(lengths)
        index = {"kind": self._extractor.kind, "n_dims": shapes[0][1], "n_frames": n_frames}
        write_text(path.with_suffix(".json"), json.dumps({**index, "clips": clips, "lengths": lengths}))


@dataclass(frozen=True)
class _Extraction:
    """What a worker process does: a pure function of clips, rebuilt there from the recipe."""

    recipe: Recipe
    folders: tuple[Path, ...]

    def __call__(self, clips: list[tuple[str, Path]]) -> dict[str, Floats]:
        extractor = cast("FeatureExtractor", make("features", self.recipe, self.folders))
        return {sha256: self._extract(extractor, sha256, path) for sha256, path in clips}

    def _extract(self, extractor: FeatureExtractor, sha256: str, path: Path) -> Floats:
        try:
            waveform = resample(decode(_bytes_of(sha256, path)), extractor.sample_rate)
            return extractor.checked_extract(waveform.samples, waveform.sample_rate)
        except BenchError as error:
            raise PluginError(f"{error} (clip {path})") from error
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {error}"
            raise PluginError(f"{self.recipe.name}.extract failed on {path}: {what}") from error


def _bytes_of(sha256: str, path: Path) -> bytes:
    """The file's bytes, refused if they are no longer those that were checked."""
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PluginError("the file changed while the run was under way; start it again")
    return data


@dataclass(frozen=True, slots=True)
class StoreUse:
    """How much of the store one extractor takes."""

    extractor: str
    versions: int
    """Different parameters, sources or library versions of it."""
    bytes: int


def store_root() -> Path:
    """Where the store stands."""
    return home() / "features"


def store_use(root: Path | None = None) -> list[StoreUse]:
    """What the store holds, by extractor."""
    folders: dict[str, list[Path]] = {}
    for folder in sorted((root or store_root()).glob("*-*")):
        folders.setdefault(folder.name.rpartition("-")[0], []).append(folder)
    return [
        StoreUse(name, len(group), sum(file.stat().st_size for folder in group for file in folder.iterdir()))
        for name, group in folders.items()
    ]


def clear_store(extractor: str | None = None, root: Path | None = None) -> int:
    """Delete the features of one extractor, or all; returns the number of bytes freed."""
    use = [entry for entry in store_use(root) if extractor in (None, entry.extractor)]
    for entry in use:
        for folder in (root or store_root()).glob(f"{entry.extractor}-*"):
            if folder.name.rpartition("-")[0] == entry.extractor:
                shutil.rmtree(folder)
    return sum(entry.bytes for entry in use)
