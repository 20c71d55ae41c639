"""Features of clips in one file of the store, which any process reads."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import home, locked, read_checksummed
from marsbench.errors import DamagedError, StorageError, reason_of
from marsbench.features.extraction import ExtractedClip
from marsbench.features.shared_place import fetch, shared_place
from marsbench.plugin.features import FeatureKind, Features, Floats, pad
from marsbench.progress import Silent


def store_root() -> Path:
    """Folder of all cached features."""
    return home() / "features"


@dataclass(frozen=True)
class FeatureFile:
    """Features of clips in a fixed order, in one memory-mapped file."""

    path: Path
    versions: tuple["FeatureFile", ...] = ()
    """Features of changed versions of the same clips in the same order, which are for training alone."""

    def __reduce__(self) -> tuple[Callable[..., "FeatureFile"], tuple[Any, ...]]:
        return _feature_file, (self.path, self.versions, shared_place())  # a worker maps the file itself

    @property
    def kind(self) -> FeatureKind:
        """Kind of every clip's features."""
        return cast("FeatureKind", self._index["kind"])

    @property
    def clips(self) -> list[str]:
        """Key of each clip's audio, in order."""
        return cast("list[str]", self._index["clips"])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one clip's features as a model sees it: (n_frames, n_dims), or (n_dims,) for a vector."""
        n_dims = self._index["n_dims"]
        return (self._index["n_frames"], n_dims) if self.kind == "frames" else (n_dims,)

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths of the array and its index, then those of the versions."""
        of_versions = (path for version in self.versions for path in version.files)
        return self.path, self.path.with_suffix(".json"), *of_versions

    @property
    def seconds_per_clip(self) -> float:
        """Median time to read, decode and extract a clip, as measured during extraction."""
        return float(np.median(self._index["seconds"]))

    def seconds_of(self, position: int) -> float:
        """Time to read, decode and extract one clip."""
        return float(self._index["seconds"][position])

    def is_whole(self) -> bool:
        """Whether the array exists and has the checksum in its index; reads the whole file."""
        try:
            with self.path.open("rb") as file:
                return bool(hashlib.file_digest(file, "sha256").hexdigest() == self._index["sha256"])
        except (OSError, StorageError):
            return False

    def read(self, positions: Iterable[int], n_frames: int | None = None) -> Features:
        """Features of the clips at `positions`, padded to one length: `n_frames`, or that of the file.

        What is longer than `n_frames` is cut, as it is of recordings that are longer than the training clips.
        """
        n_frames = n_frames or self._index["n_frames"]
        arrays = [self.array(position) for position in positions]
        return pad([array[:n_frames] if array.ndim == 2 else array for array in arrays], n_frames)

    def versions_of(self, positions: Sequence[int] | NDArray[np.int64]) -> list[Features]:
        """Features of each version of the clips at `positions`, of the shape of `read`."""
        n_frames = self._index["n_frames"]
        return [version.read(positions, n_frames) for version in self.versions]

    def array(self, position: int) -> Floats:
        """One clip's features, unpadded, as a view of the mapped file."""
        rows = self._rows[self._starts[position] : self._starts[position + 1]]
        return rows if self.kind == "frames" else rows[0]

    def extracted(self, first: int, n_clips: int) -> list[ExtractedClip]:
        """Rows (n_rows, n_dims) of clips in turn, read without mapping, so that no pages stay in memory."""
        width, starts = self._index["n_dims"], self._starts[first : first + n_clips + 1]
        count, offset = int(starts[-1] - starts[0]) * width, 4 * width * int(starts[0])
        rows = np.fromfile(self.path, np.dtype("<f4"), count, offset=offset).reshape(-1, width)
        bounds = enumerate(pairwise((starts - starts[0]).tolist()), first)
        return [ExtractedClip(rows[start:end], self.seconds_of(clip)) for clip, (start, end) in bounds]

    @cached_property
    def _index(self) -> dict[str, Any]:
        with self._required():
            return cast("dict[str, Any]", json.loads(read_checksummed(self.path.with_suffix(".json"))))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self._index["lengths"], dtype=np.int64)])

    @cached_property
    def _rows(self) -> Floats:
        shape = (int(self._starts[-1]), self._index["n_dims"])
        with self._required():
            return np.memmap(self.path, np.dtype("<f4"), "r", shape=shape)

    @contextmanager
    def _required(self) -> Iterator[None]:
        """Raise StorageError where the file is missing or cut off: no model can be blamed for that."""
        try:
            yield
        except (OSError, ValueError, DamagedError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            again = "; run the same command again to extract them again"
            raise StorageError(f"stored features {self.path} cannot be read: {reason}{again}") from error


def local_place(path: Path) -> Path:
    """Path in this machine's store of a file that another machine's store has at `path`."""
    return store_root() / path.parent.name / path.name


def _feature_file(path: Path, versions: tuple[FeatureFile, ...], place: str | None) -> FeatureFile:
    """The driver's file where it is seen, else this machine's own, fetched from the place if it lacks it."""
    if not path.exists():
        path = local_place(path)
        index = path.with_suffix(".json")  # written last
        if place is not None and not index.exists():
            with locked(path.parent, "another process fetches it", Silent()):
                if not index.exists():
                    fetch(path, place)
    return FeatureFile(path, versions)
