"""Unpack untrusted zip archives: every entry is checked before anything is written.

Limits: at most 100,000 entries, and an unpacked size of at most 20 times the archive's plus 16 MiB. RAVDESS
unpacks to 2.5 times; only silence compresses much better.
"""

import json
import shutil
import stat
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from marsbench.errors import FetchError
from marsbench.progress import Advance, Progress

MAX_ENTRIES = 100_000
MAX_RATIO = 20
SLACK_BYTES = 16 << 20
_MARKER = ".unpacked.json"
_CHUNK = 1 << 18


def unpack(zip_path: Path, folder: Path, progress: Progress) -> None:
    """Unpack a zip into `folder`, which is created in one step when all is unpacked; no-op if it exists.

    Raises:
        FetchError: a damaged or hostile archive, too little disk space, or `folder` holds something else.
    """
    if is_unpacked(folder):
        return
    with _as_fetch_error(zip_path), ZipFile(zip_path) as archive:
        entries = _checked_entries(archive, zip_path.stat().st_size)
        require_space(folder.parent, sum(entry.file_size for entry in entries))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            fresh = Path(temporary) / folder.name
            _extract_all(archive, entries, fresh, progress)
            _write_marker(fresh, entries)
            fresh.rename(folder)


def is_unpacked(folder: Path) -> bool:
    """Whether `unpack` made this folder and every file still has its size.

    Raises:
        FetchError: the folder exists, but `unpack` did not make it or a file is missing or has another size.
    """
    if not folder.exists():
        return False
    try:
        listing = json.loads((folder / _MARKER).read_text("utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in listing.items())
    except (OSError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise FetchError(f"{folder} is not a complete unpacked archive; move or remove it and try again")
    return True


def require_space(folder: Path, needed: int) -> None:
    """Raise FetchError unless the disk of `folder`, which may not exist yet, has `needed` bytes free."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise FetchError(
            f"not enough disk space in {folder}: {needed:,} bytes needed, {free:,} free; "
            "make room and try again"
        )


@contextmanager
def _as_fetch_error(zip_path: Path) -> Iterator[None]:
    """Convert the many exceptions of zipfile into FetchError."""
    try:
        yield
    except OSError as error:
        raise FetchError(f"{zip_path.name} cannot be unpacked: {error.strerror or error}") from error
    except (BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        raise FetchError(f"{zip_path.name} is not a usable zip archive: {error}") from error


def _checked_entries(archive: ZipFile, packed_size: int) -> list[ZipInfo]:
    """Entries that are files; raises BadZipFile if any entry is refused."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise BadZipFile(f"{len(entries):,} entries, the limit is {MAX_ENTRIES:,}")
    for entry in entries:
        if reason := _why_refused(entry):
            raise BadZipFile(f"entry {entry.orig_filename!r} {reason}")
    files = [entry for entry in entries if not entry.is_dir()]
    _refuse_clashes(files)
    total, limit = sum(entry.file_size for entry in files), MAX_RATIO * packed_size + SLACK_BYTES
    if total > limit:
        raise BadZipFile(f"its unpacked size is {total:,} bytes, the limit for its size is {limit:,}")
    return files


def _why_refused(entry: ZipInfo) -> str | None:
    if reason := _why_name_refused(entry):
        return reason
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"has compression method {entry.compress_type}; only stored and deflated are supported"
    return None


def _why_name_refused(entry: ZipInfo) -> str | None:
    # zipfile truncates a name at a NUL character and keeps the full one in `orig_filename`.
    if set("\0\\:") & set(entry.orig_filename + entry.filename):
        return "has a NUL, a backslash or a colon in its name"
    if entry.filename.startswith("/"):
        return "has an absolute path"
    if {"", ".", ".."} & set(entry.filename.removesuffix("/").split("/")):
        return "has a path with an empty, '.' or '..' part"
    return None


def _refuse_clashes(files: Iterable[ZipInfo]) -> None:
    """Refuse names that are the same file on some file systems, and a file that is also a folder."""
    seen = {_MARKER}
    for entry in files:
        key = _key(entry.filename)
        if key in seen:
            raise BadZipFile(f"entry {entry.filename!r} is listed twice")
        seen.add(key)
    for entry in files:
        if parent := next((p for p in PurePosixPath(_key(entry.filename)).parents if str(p) in seen), None):
            raise BadZipFile(f"entry {str(parent)!r} is both a file and a folder")


def _key(name: str) -> str:
    """The name as a case-insensitive, normalising file system compares it."""
    return unicodedata.normalize("NFC", name).casefold()


def _extract_all(archive: ZipFile, entries: list[ZipInfo], folder: Path, progress: Progress) -> None:
    folder.mkdir()
    total = sum(entry.file_size for entry in entries)
    with progress.track(f"Unpacking {Path(archive.filename or '').name}", total) as advance:
        for entry in entries:
            path = folder / entry.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            _extract(archive, entry, path, advance)


def _extract(archive: ZipFile, entry: ZipInfo, path: Path, advance: Advance) -> None:
    """Write one entry to `path`; zipfile verifies its checksum, this function its declared size."""
    written = 0
    with archive.open(entry) as source, path.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > entry.file_size:
                break
            file.write(chunk)
            advance(len(chunk))
    if written != entry.file_size:
        raise BadZipFile(f"entry {entry.filename!r} has another size than it declares")


def _write_marker(folder: Path, entries: list[ZipInfo]) -> None:
    listing = {entry.filename: entry.file_size for entry in entries}
    (folder / _MARKER).write_text(json.dumps(listing), "utf-8")
