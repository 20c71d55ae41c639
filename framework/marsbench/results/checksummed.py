"""Records and bytes in files with checksums of themselves."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from marsbench.atomic_files import read_checksummed, write_atomically
from marsbench.errors import ResultsError

Record = TypeVar("Record", bound=BaseModel)


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
