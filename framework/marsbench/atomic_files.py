"""Write files atomically; JSON objects, records and bytes with a checksum that is checked on reading."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, TypeVar

import platformdirs
from pydantic import BaseModel, ValidationError

from marsbench.errors import DamagedError, ResultsError, StorageError

Record = TypeVar("Record", bound=BaseModel)


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


def read_record(path: Path, kind: type[Record]) -> Record:
    """The record in a file; raises ResultsError if it is missing, damaged or not of this version."""
    try:
        return kind.model_validate_json(read_checksummed(path))
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ResultsError(f"{path} is not of this version: {where}: {first['msg']}") from error


def intact(path: Path, say: Callable[[str], None], read: Callable[[Path], Record]) -> Record | None:
    """The record in a file, or None; an unusable file is renamed to `.damaged`, and `say` gets a line."""
    if not path.exists():
        return None
    try:
        return read(path)
    except ResultsError as error:
        aside = path.replace(path.with_suffix(".damaged"))
        say(f"{error}; set aside as {aside.name} and computed again")
        return None


def write_sealed(path: Path, data: bytes) -> None:
    """Write bytes atomically, with their sha256 before them."""
    write_atomically(path, lambda file: file.write(hashlib.sha256(data).digest() + data))


def read_sealed(path: Path) -> bytes | None:
    """The bytes that `write_sealed` was given; None if they are missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    return content[size:] if hashlib.sha256(content[size:]).digest() == content[:size] else None
