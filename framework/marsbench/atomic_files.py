"""Write files atomically, and JSON files with a checksum."""

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
    """Folder of everything that can be recomputed or downloaded again: features, generated corpora, encoders.

    `MARSBENCH_HOME` if set, else the platform's cache folder of the user.
    """
    return Path(os.environ.get("MARSBENCH_HOME") or platformdirs.user_cache_dir("marsbench"))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file in the same folder, flush it to disk, then rename it to `path`.

    Readers see the old file or the complete new one, also after a crash.

    Raises:
        StorageError: the disk is full, or the folder cannot be created or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, write)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def require_writable(folder: Path) -> None:
    """Raise StorageError unless files can be written into `folder`, which is created if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"{folder} cannot be written to: {error.strerror or error}") from error


@cache
def _umask() -> int:
    """File mode bits that the user masks; the only way to read them is to set them."""
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
            temporary.chmod(0o666 & ~_umask())  # NamedTemporaryFile's 0600 hides results from others
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_checksummed(path: Path, text: str) -> None:
    """Write a non-empty JSON object atomically, with a checksum of the rest as its first key."""
    rest = text.removeprefix("{").lstrip("\n").encode()
    write_atomically(path, lambda file: file.write(_checksum_line(rest) + b"\n" + rest))


def read_checksummed(path: Path) -> bytes:
    """The JSON object that was written by `write_checksummed`.

    Raises:
        DamagedError: any byte differs from what was written, or is missing.
        OSError: the file cannot be read.
    """
    line, _, rest = path.read_bytes().partition(b"\n")
    if line != _checksum_line(rest):
        raise DamagedError(f"{path} is damaged: its checksum does not match")
    return b"{" + rest


def _checksum_line(rest: bytes) -> bytes:
    return b'{"sha256": "%s",' % hashlib.sha256(rest).hexdigest().encode()
