"""Files that are either whole or absent, and JSON files with a checksum of themselves."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO

import platformdirs

from marsbench.errors import DamagedError, StorageError


def home() -> Path:
    """Folder of everything that can be made again: features, generated corpora, downloads.

    `MARSBENCH_HOME` if set, else the user's cache folder of this platform.
    """
    return Path(os.environ.get("MARSBENCH_HOME") or platformdirs.user_cache_dir("marsbench"))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it.

    A reader sees the old file or the whole new one, also after a crash.

    Raises:
        StorageError: the disk is full, or the folder cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, write)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def require_writable(folder: Path) -> None:
    """Raise StorageError unless files can be written into `folder`, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"{folder} cannot be written to: {error.strerror or error}") from error


@cache
def _umask() -> int:
    """The user's; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())  # NamedTemporaryFile makes it 0600; results are shared
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_checksummed(path: Path, text: str) -> None:
    """Write a JSON object of one key or more atomically, with a checksum of itself as its first key."""
    rest = text.removeprefix("{").lstrip("\n").encode()
    write_atomically(path, lambda file: file.write(_seal(rest) + b"\n" + rest))


def read_checksummed(path: Path) -> bytes:
    """The JSON object that `write_checksummed` was given.

    Raises:
        DamagedError: any byte differs from what was written, or is missing.
        OSError: the file cannot be read.
    """
    seal, _, rest = path.read_bytes().partition(b"\n")
    if seal != _seal(rest):
        raise DamagedError(f"{path} is damaged: its checksum does not fit")
    return b"{" + rest


def _seal(rest: bytes) -> bytes:
    return b'{"sha256": "%s",' % hashlib.sha256(rest).hexdigest().encode()
