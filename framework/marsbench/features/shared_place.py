"""Copies of stored features where machines that share no disk find them: in a folder, or object storage.

    MARSBENCH_FEATURES=s3://bucket/features        any address that fsspec knows, or a folder

    <place>/<extractor>-<key>/<corpus>.json        the index, as in the store of a machine
    <place>/<extractor>-<key>/<sha256>.f32         the array, under the checksum that its index states

The index is written last and names its array by content, so whoever reads finds both or neither, also where
several machines write at once and nothing can be renamed. What is read is checked before it is used.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Any

from marsbench.atomic_files import unsealed, write_atomically
from marsbench.environment import import_extra
from marsbench.errors import BenchError, ConfigError, DamagedError, StorageError

VARIABLE = "MARSBENCH_FEATURES"
_CHUNK = 1 << 20


def shared_place() -> str | None:
    """Address of the place, from the environment, a folder as its absolute path; None if there is none."""
    place = os.environ.get(VARIABLE) or None
    return place if place is None or "://" in place else str(Path(place).expanduser().absolute())


def shown(place: str | None) -> str:
    """The address without the name and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", place or "")


def keep(array: Path, place: str | None) -> None:
    """Copy an array and its index to the place unless they are there; nothing if there is no place.

    Raises:
        ConfigError: the place is not an address that fsspec knows.
        ExportError: fsspec is not installed.
        StorageError: the place cannot be written to.
    """
    if place is None:
        return
    index = array.with_suffix(".json")
    with _reached(place) as (files, root):
        folder = f"{root}/{array.parent.name}"
        content = index.read_bytes()
        if _read(files, f"{folder}/{index.name}") == content:
            return
        files.makedirs(folder, exist_ok=True)
        with array.open("rb") as source, files.open(f"{folder}/{_checksum(content)}.f32", "wb") as target:
            copyfileobj(source, target, _CHUNK)
        files.pipe_file(f"{folder}/{index.name}", content)


def fetch(array: Path, place: str | None) -> bool:
    """Copy an array and its index from the place to this path; whether they are there now.

    Damaged ones are removed from the place. Raises as `keep` does.
    """
    if place is None:
        return False
    index = array.with_suffix(".json")
    with _reached(place) as (files, root):
        folder = f"{root}/{array.parent.name}"
        if (content := _read(files, f"{folder}/{index.name}")) is None:
            return False
        try:
            checksum = _checksum(content)
            with files.open(f"{folder}/{checksum}.f32", "rb") as source:
                write_atomically(array, lambda target: _copy_checked(source, target, checksum))
        except (DamagedError, FileNotFoundError):
            with suppress(OSError):
                files.rm_file(f"{folder}/{index.name}")
            return False
        write_atomically(index, lambda target: target.write(content))
        return True


def _read(files: Any, path: str) -> bytes | None:
    try:
        return bytes(files.cat_file(path))
    except FileNotFoundError:
        return None


def _checksum(index: bytes) -> str:
    """The checksum of the array that an index states; raises DamagedError."""
    try:
        found = str(json.loads(unsealed(index, "an index"))["sha256"])
    except (ValueError, LookupError, TypeError) as error:
        raise DamagedError("an index is damaged") from error
    if not re.fullmatch(r"[0-9a-f]{64}", found):
        raise DamagedError("an index states no checksum")
    return found


def _copy_checked(source: IO[bytes], target: IO[bytes], checksum: str) -> None:
    found = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        found.update(chunk)
        target.write(chunk)
    if found.hexdigest() != checksum:
        raise DamagedError("an array is damaged")


@contextmanager
def _reached(place: str) -> Iterator[tuple[Any, str]]:
    """The file system of a place and the path in it; what that raises becomes one line."""
    fsspec = import_extra("fsspec", "cluster")
    try:
        files, root = fsspec.core.url_to_fs(place)
    except Exception as error:  # each file system has exceptions of its own
        raise ConfigError(f"{VARIABLE}={shown(place)} is no place for features: {error}") from error
    try:
        yield files, root.rstrip("/")
    except BenchError:
        raise
    except Exception as error:
        raise StorageError(f"features at {shown(place)} ({VARIABLE}) cannot be reached: {error}") from error
