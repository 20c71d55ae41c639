"""Files that are either whole or absent, and the hashes that name them."""

import hashlib
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

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


def write_sealed(path: Path, text: str) -> None:
    """Write a JSON object of one key or more atomically, with a checksum of itself as its first key."""
    rest = text.removeprefix("{").lstrip("\n").encode()
    write_atomically(path, lambda file: file.write(_seal(rest) + b"\n" + rest))


def read_sealed(path: Path) -> bytes:
    """The JSON object that `write_sealed` was given.

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


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """Hexadecimal sha256 of a JSON-able value's canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def derived_seed(seed: int, *words: str | int) -> int:
    """Seed in [0, 2**31) that depends on `seed` and every word, and on nothing else."""
    return int(digest([seed, *words])[:8], 16) & 0x7FFF_FFFF


def is_jsonable(value: Mapping[str, Any]) -> bool:
    """Whether `value` survives a round trip through JSON unchanged."""
    try:
        return bool(json.loads(canonical_json(value)) == value)
    except (TypeError, ValueError):
        return False


def slug(text: str, otherwise: str = "corpus") -> str:
    """`text` as a name for a folder: a-z, 0-9, '-' and '_'; `otherwise` if nothing of it is left."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_") or otherwise
