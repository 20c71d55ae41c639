"""Extract features, and keep them in a content-addressed cache on disk.

    <home>/features/<extractor>-<key>/<corpus>.f32    arrays of all clips, joined: float32 (n_rows, n_dims)
    <home>/features/<extractor>-<key>/<corpus>.json   index: the clip of each block of rows, with a checksum

The key covers everything that decides the features: the extractor's name, parameters, code and library
versions, and the decoder; clips are identified by the sha256 of their audio bytes, or of the decoded samples
if they are segments of a file or decoded by PyAV. So stale features are never read. Extraction writes partial
files of the same format; an interrupted extraction resumes from them, and other corpora reuse the clips that
they share. Changed versions of the clips (`features.clip_versions`) are extractions of their own, in folders
of their own keys.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

import numpy as np

from marsbench.atomic_files import (
    home,
    locked,
    pause,
    try_lock,
    who_is_at_work,
    write_atomically,
    write_checksummed,
)
from marsbench.config import Versions
from marsbench.data.audio import DECODER
from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import PluginError, StorageError
from marsbench.features.clip_versions import code_of, names_of
from marsbench.features.extraction import Extracted, ExtractedClip, Extraction, RunAll, run_here
from marsbench.features.feature_file import FeatureFile, store_root
from marsbench.features.shared_place import fetch, keep, shared_place, shown
from marsbench.hashing import digest
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.registry import Recipe, make
from marsbench.progress import Progress, Silent
from marsbench.versions import versions_of

_CHUNK, _MOST = 16, 256
"""Fewest and most clips of an extraction task: large corpora have larger and fewer ones.

A partial file has the most, or a task more: an interruption loses fewer than that.
"""
_TASKS = 1000
"""About so many tasks, before each has the most clips."""


Keep = Callable[[Extracted], None]
"""Is given features to write."""


def chunk_size(n_clips: int) -> int:
    """Clips of a task, where there are so many in all."""
    return min(max(_CHUNK, n_clips // _TASKS), _MOST)


class FeatureStore:
    """The cache of one extractor with one set of parameters, for clips or for one version of each."""

    def __init__(
        self, recipe: Recipe, folders: tuple[Path, ...], root: Path | None = None, version: str = ""
    ) -> None:
        self._recipe, self._version = recipe, version
        self._title = recipe.name + (f", {version}" if version else "")
        self._folders = folders
        self._extractor = cast("FeatureExtractor", make("features", recipe, folders))
        self.folder = (root or store_root()) / _folder_name(recipe, version)

    def features_of(
        self,
        corpus: CheckedCorpus,
        progress: Progress | None = None,
        run_all: RunAll = run_here,
        between: Callable[[], None] = pause,
    ) -> FeatureFile:
        """Features of every clip of `corpus`, in its order; extracts only clips that are not cached.

        `between` is called repeatedly while another process extracts the same features.

        Raises:
            PluginError: the extractor failed on a clip or broke its contract; names both.
        """
        progress, place = progress or Silent(), shared_place()
        wanted = list(corpus.audio_keys)
        whole = FeatureFile(self.folder / f"{digest(wanted)[:24]}.f32")
        with locked(self.folder, f"{self._title}: another process extracts it", progress, between):
            if whole.is_whole():
                progress.say(f"{self._title}: all {len(wanted)} clips from the store")
                keep(whole.path, place)
                return whole
            if fetch(whole.path, place):
                progress.say(f"{self._title}: all {len(wanted)} clips from {shown(place)}")
                return whole
            for leftover in self.folder.glob(".*.f32.*"):  # temporary files of a process that was killed
                leftover.unlink(missing_ok=True)
            known = _places(self._whole_files())
            n_known = sum(sha256 in known for sha256 in wanted)
            progress.say(f"{self._title}: {n_known} of {len(wanted)} clips from the store")
            clips = dict(zip(wanted, corpus.clips, strict=True))
            missing = {sha256: clip for sha256, clip in clips.items() if sha256 not in known}
            if missing:
                self._extract(missing, progress, run_all)
            self._join(whole, wanted)
            keep(whole.path, place)
        return whole

    def _join(self, whole: FeatureFile, wanted: list[str]) -> None:
        """Write the complete file from all others, and remove the partial ones that it replaces."""
        files = self._whole_files()
        self._write(whole.path, zip(wanted, _in_turn(_places(files), wanted), strict=True))
        replaced = set(wanted)
        for file in files:
            if file.path.name.startswith("part-") and replaced.issuperset(file.clips):
                for path in reversed(file.files):
                    path.unlink(missing_ok=True)

    def _whole_files(self) -> list[FeatureFile]:
        """All intact files of this extractor; reads each to verify its checksum."""
        files = map(FeatureFile, sorted(self.folder.glob("*.f32")))
        return [file for file in files if file.is_whole()]

    def _extract(self, missing: dict[str, Clip], progress: Progress, run_all: RunAll) -> None:
        size = chunk_size(len(missing))
        with self._kept() as keep, progress.track(f"Extracting {self._title}", len(missing)) as advance:
            for extracted in run_all(self._extractions(missing, size)):
                keep(extracted)
                advance(len(extracted))

    @contextmanager
    def filled_early(self) -> Iterator[Keep | None]:
        """Keep features whose corpus is not known yet; None while another process extracts the same."""
        lock = try_lock(self.folder)
        if lock is None:
            yield None
            return
        try:
            with self._kept() as keep:
                yield keep
        finally:
            lock.release()

    @property
    def holds_no_corpus(self) -> bool:
        """Whether no whole corpus has features here, nor could have any from another machine.

        An extraction that was interrupted leaves parts: what has not been examined yet is not among them.
        """
        is_part = (path.name.startswith("part-") for path in self.folder.glob("*.f32"))
        return shared_place() is None and all(is_part)

    @contextmanager
    def _kept(self) -> Iterator[Keep]:
        """Write partial files of what is given; at the end, also after Ctrl-C, one of the rest."""
        waiting: Extracted = {}

        def keep(extracted: Extracted) -> None:
            waiting.update(extracted)
            if len(waiting) >= _MOST:
                self._write_part(waiting)
                waiting.clear()

        try:
            yield keep
        finally:
            if waiting:
                self._write_part(waiting)

    def _extractions(self, missing: dict[str, Clip], size: int) -> Iterator[Extraction]:
        clips = [(key, clip.source) for key, clip in missing.items()]
        clips.sort(key=lambda clip: (str(clip[1].path), clip[1].start or 0.0))
        for start in range(0, len(clips), size):
            chunk = tuple(clips[start : start + size])
            yield Extraction(self._recipe, self._folders, chunk, self._version)

    def _write_part(self, clips: Extracted) -> None:
        self._write(self.folder / f"part-{digest(list(clips))[:24]}.f32", clips.items())

    def _write(self, path: Path, clips: Iterable[tuple[str, ExtractedClip]]) -> None:
        """Stream arrays into the file, then write the index, without which the file is ignored."""
        written: list[tuple[str, int, int, float]] = []
        content = hashlib.sha256()

        def stream(file: IO[bytes]) -> None:
            for sha256, clip in clips:
                rows = np.atleast_2d(clip.array)
                data = np.ascontiguousarray(rows, "<f4").tobytes()
                content.update(data)
                file.write(data)
                written.append((sha256, *rows.shape, round(clip.seconds, 6)))

        write_atomically(path, stream)
        names, lengths, dims, seconds = zip(*written, strict=True)
        if len(set(dims)) > 1:
            raise PluginError(
                f"{self._recipe.name}.extract returned different numbers of dimensions for different clips"
            )
        index = {
            "kind": self._extractor.kind,
            "n_dims": dims[0],
            "n_frames": self._extractor.n_frames or max(lengths),
            "sha256": content.hexdigest(),
            "clips": names,
            "lengths": lengths,
            "seconds": seconds,
        }
        write_checksummed(path.with_suffix(".json"), json.dumps(index))


def stored_features(
    corpus: CheckedCorpus,
    recipe: Recipe,
    folders: tuple[Path, ...],
    versions: Versions | None,
    progress: Progress | None = None,
    run_all: RunAll = run_here,
    between: Callable[[], None] = pause,
) -> FeatureFile:
    """Features of all clips and of their versions, each extracted once; raises as `FeatureStore` does."""
    clips, *others = (
        FeatureStore(recipe, folders, version=version).features_of(corpus, progress, run_all, between)
        for version in ("", *names_of(versions))
    )
    return replace(clips, versions=tuple(others))


def _folder_name(recipe: Recipe, version: str = "") -> str:
    of_version = code_of([version] if version else [])
    key = digest([recipe.key, DECODER, *versions_of("extraction"), *of_version])
    return f"{recipe.name}-{key[:24]}"


Places = dict[str, tuple[FeatureFile, int]]
"""The file and position of each clip's features, by the key of its audio."""


def stored_places(recipe: Recipe, *, is_checked: bool = True) -> Places:
    """What whole corpora have in the store, whether the plugin is here or not; extracts nothing.

    Unless it `is_checked`, what reads every byte, a file may be damaged: StorageError, or wrong numbers.
    """
    indices = sorted((store_root() / _folder_name(recipe)).glob("*.json"))
    # Parts of a corpus may be replaced at any moment.
    whole = (path for path in indices if not path.name.startswith((".", "part-")))
    files = [FeatureFile(path.with_suffix(".f32")) for path in whole]
    return _places(file for file in files if not is_checked or file.is_whole())


def _places(files: Iterable[FeatureFile]) -> Places:
    return {clip: (file, position) for file in files for position, clip in enumerate(file.clips)}


def _in_turn(places: Places, wanted: Sequence[str]) -> Iterator[ExtractedClip]:
    """The clips of some keys in their order; those that follow one another in a file are read at once."""
    file, first, n_clips = None, 0, 0
    for key in wanted:
        other, position = places[key]
        if file is other and position == first + n_clips and n_clips < _MOST:
            n_clips += 1
            continue
        yield from file.extracted(first, n_clips) if file else ()
        file, first, n_clips = other, position, 1
    yield from file.extracted(first, n_clips) if file else ()


@dataclass(frozen=True, slots=True)
class StoreUse:
    """Disk use of one extractor's features."""

    extractor: str
    versions: int
    """Number of different keys: parameters, code or library versions."""
    bytes: int


def store_use() -> list[StoreUse]:
    """Disk use by extractor."""
    return [
        StoreUse(name, len(folders), sum(map(_size, folders)))
        for name, folders in _folders_by_extractor().items()
    ]


def clear_store(extractor: str | None = None) -> int:
    """Delete the cached features of one extractor, or of all if None; returns the number of bytes freed.

    Raises:
        StorageError: a process that is at work may need them; names it.
    """
    if busy := who_is_at_work(home()):
        raise StorageError(f"stored features are in use by {'; '.join(busy)}. Clear them once it has ended.")
    freed = 0
    for name, folders in _folders_by_extractor().items():
        for folder in folders if extractor in (None, name) else ():
            if (lock := try_lock(folder)) is None:
                raise StorageError(f"{folder} is being written by another process; try again later")
            freed += _size(folder)
            shutil.rmtree(folder)
            lock.release()
    return freed


def _folders_by_extractor() -> dict[str, list[Path]]:
    folders: dict[str, list[Path]] = {}
    for folder in sorted(store_root().glob("*-*")):
        folders.setdefault(folder.name.rpartition("-")[0], []).append(folder)
    return folders


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
