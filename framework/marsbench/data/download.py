"""Download published files, check them against their published size and checksum, unpack archives.

Written here because an interrupted download has to be resumed: RAVDESS's archives have 208 and 226 MB. pooch
removes what it received when a connection breaks; huggingface_hub resumes, but from one hub only.

Archives are untrusted: every entry is checked before anything is written. Limits: at most 100,000 entries,
and an unpacked size of at most 20 times the archive's plus 16 MiB. RAVDESS unpacks to 2.5 times; only silence
compresses much better.
"""

import hashlib
import json
import re
import shutil
import stat
import struct
import tempfile
import time
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead, InvalidURL
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Literal, cast
from urllib import request
from urllib.error import HTTPError, URLError
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from marsbench.data.bounded_http import bounded_opener
from marsbench.errors import FetchError, shown
from marsbench.progress import Advance, Progress

_WAITS = (1.0, 3.0, 9.0)
"""Seconds before each retry."""
_TIMEOUT = 30.0
_CHUNK = 1 << 18
_LEAST, _PATIENCE = 60_000, 60.0
"""Bytes that have to come in so many seconds: a server that sends one at a time would hold the program."""
_TEMPORARY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE_NOT_SATISFIABLE = 416
MAX_ENTRIES = 100_000
MAX_RATIO = 20
SLACK_BYTES = 16 << 20
_MARKER = ".unpacked.json"


@dataclass(frozen=True, slots=True)
class Download:
    """One published file."""

    url: str
    size: int
    """Bytes."""
    algorithm: Literal["md5", "sha256"]
    checksum: str
    """Hexadecimal."""
    file_name: str
    """On this machine."""


@dataclass(frozen=True, slots=True)
class Archive(Download):
    """One published zip file."""

    folder: str
    """Subfolder of the target that it is unpacked into."""


def fetch(archives: Iterable[Archive], target: Path, progress: Progress) -> None:
    """Download each archive into `target` and unpack it into its folder there, skipping what is done already.

    A download is written to `NAME.part`, is resumed after an interruption, and is renamed to `NAME` when its
    size and checksum are the published ones. A zip that is already in `target` is used if they are.

    Raises:
        FetchError: no connection, not the published archive, a hostile or damaged one, or a full disk.
    """
    for archive in archives:
        folder = target / archive.folder
        if is_unpacked(folder):
            progress.say(f"{folder} is already there")
        else:
            unpack(obtain(archive, target, progress), folder, progress)


def obtain(wanted: Download, target: Path, progress: Progress) -> Path:
    """Path of the checked file in folder `target`, downloaded unless it is there; see `fetch`."""
    path = target / wanted.file_name
    if path.exists():
        if wrong := _difference(wanted, path):
            raise FetchError(f"{path} is not the published file: {wrong}; remove it and try again")
        return path
    part = target / f"{wanted.file_name}.part"
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(f"the folder {target} cannot be created: {error.strerror}") from error
    require_space(target, wanted.size - _size(part))
    _download(wanted, part, progress)
    if wrong := _difference(wanted, part):
        part.unlink()
        raise FetchError(f"{wanted.url} is not the published file: {wrong}; it was removed, try again")
    return part.replace(path)


def _difference(wanted: Download, path: Path) -> str | None:
    """How a file differs from the published one; None if it does not."""
    if (size := _size(path)) != wanted.size:
        return f"expected {wanted.size:,} bytes, found {'more' if size > wanted.size else f'{size:,}'}"
    with path.open("rb") as file:
        # md5, where nothing better is published, protects from damage but not from forgery.
        found = hashlib.file_digest(
            file, lambda: hashlib.new(wanted.algorithm, usedforsecurity=False)
        ).hexdigest()
    fits = found == wanted.checksum
    return None if fits else f"expected {wanted.algorithm} {wanted.checksum}, found {found}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(wanted: Download, part: Path, progress: Progress) -> None:
    """Fill `part`, retrying after temporary failures."""
    for wait in (*_WAITS, None):
        try:
            return _receive(wanted, part, progress)
        except (OSError, HTTPException, ValueError) as error:
            reason = _reason(error)
            if wait is None or not _is_temporary(error):
                raise FetchError(
                    f"{wanted.file_name} could not be downloaded: {reason}; try again, or save {wanted.url} "
                    f"as {part.with_name(wanted.file_name)} and repeat the command"
                ) from error
        progress.say(f"{wanted.file_name}: {reason}; trying again in {wait:g} s")
        time.sleep(wait)
    return None


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return error.code in _TEMPORARY_STATUSES
    # An address or an answer that is not valid; a URLError of a text is one of the kind of address.
    is_invalid = isinstance(error, (ValueError, InvalidURL))
    return not is_invalid and not (isinstance(error, URLError) and isinstance(error.reason, str))


def _reason(error: Exception) -> str:
    """Why there is no answer, on one line that is not too long: much of it may be what a server sent."""
    if isinstance(error, IncompleteRead):
        return "the connection was lost, or the server sent a chunk without a valid size"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {_TIMEOUT:g} s"
    text = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
    text = shown(" ".join(text.split()))
    if not isinstance(error, HTTPError):
        return text.lower()
    is_loop = "infinite loop" in str(error.reason)
    return "the server redirects without end" if is_loop else f"the server answered {error.code} {text}"


def _receive(wanted: Download, part: Path, progress: Progress) -> None:
    """Append the missing bytes to `part`, or start over if the server does not support that.

    At most one byte more than published is read, enough to notice a file that is too long.
    """
    have = _size(part)
    if have == wanted.size:
        return
    response, received = _open(wanted, have if have < wanted.size else 0)
    with (
        response,
        part.open("ab" if received else "wb") as file,
        progress.track(f"Downloading {wanted.file_name}", wanted.size) as advance,
    ):
        advance(received)
        least, deadline = received + _LEAST, time.monotonic() + _PATIENCE
        while chunk := response.read1(min(_CHUNK, wanted.size + 1 - received)):
            file.write(chunk)
            received += len(chunk)
            advance(len(chunk))
            if time.monotonic() > deadline:
                if received < least:
                    raise ConnectionError(f"less than {_LEAST:,} bytes in {_PATIENCE:g} s")
                least, deadline = received + _LEAST, time.monotonic() + _PATIENCE
    if received < wanted.size:
        raise ConnectionError(f"the connection was lost after {received:,} of {wanted.size:,} bytes")


def _open(wanted: Download, offset: int) -> tuple[HTTPResponse, int]:
    """The response, and the offset of its first byte: `offset`, or 0 where ranges are not supported."""
    try:
        response = _ask(wanted.url, offset)
    except HTTPError as error:
        error.close()
        if offset and error.code == _RANGE_NOT_SATISFIABLE:
            return _open(wanted, 0)
        raise
    resumes = bool(offset) and response.status == 206
    content_range = response.headers.get("Content-Range", "")
    if resumes and not re.fullmatch(rf"bytes {offset}-\d+/({wanted.size}|\*)", content_range):
        response.close()
        return _open(wanted, 0)
    start = offset if resumes else 0
    if response.length is not None and start + response.length != wanted.size:
        response.close()
        found = f"the server offers {start + response.length:,} bytes, {wanted.size:,} were published"
        raise FetchError(f"{wanted.url} is not the published file: {found}")
    return response, start


def read_small(url: str, most: int) -> bytes:
    """Content of a small published file; raises FetchError, also if it has more than `most` bytes."""
    for wait in (*_WAITS, None):
        try:
            with _ask(url, 0) as response:
                data = _read(response, most + 1)
            break
        except (OSError, HTTPException, ValueError) as error:
            if wait is None or not _is_temporary(error):
                raise FetchError(f"{url} could not be read: {_reason(error)}") from error
            time.sleep(wait)
    if len(data) > most:
        raise FetchError(f"{url} is longer than {most:,} bytes")
    return data


def _read(response: HTTPResponse, most: int) -> bytes:
    """At most so many bytes of an answer."""
    data, deadline = bytearray(), time.monotonic() + _PATIENCE
    while chunk := response.read1(most - len(data)):
        data += chunk
        if len(data) < most and time.monotonic() > deadline:
            raise ConnectionError(f"no end within {_PATIENCE:g} s")
    return bytes(data)


def _ask(url: str, offset: int) -> HTTPResponse:
    """Response to a GET request for all bytes from `offset` on."""
    if not url.startswith(("https://", "http://")):
        raise FetchError(f"{url} is not an http or https address")
    headers = {
        "User-Agent": f"marsbench/{version('marsbench')} (audio emotion benchmark)",
        "Accept-Encoding": "identity",
    }
    if offset:
        headers["Range"] = f"bytes={offset}-"
    asked = request.Request(url, headers=headers)  # noqa: S310 - the scheme has been checked
    try:
        return cast("HTTPResponse", bounded_opener().open(asked, timeout=_TIMEOUT))
    except ValueError as error:  # a redirection to no host, to one too long or in another script
        raise ValueError("it leads to an address that is not valid") from error


def unpack(zip_path: Path, folder: Path, progress: Progress) -> None:
    """Unpack a zip into `folder`, which is created in one step when all is unpacked; no-op if it exists.

    Raises:
        FetchError: a damaged or hostile archive, too little disk space, or `folder` holds something else.
    """
    if is_unpacked(folder):
        return
    try:
        _unpack(zip_path, folder, progress)
    except OSError as error:
        raise FetchError(f"{zip_path.name} cannot be unpacked: {error.strerror or error}") from error
    except (BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        raise FetchError(f"{zip_path.name} is not a usable zip archive: {error}") from error


def _unpack(zip_path: Path, folder: Path, progress: Progress) -> None:
    with ZipFile(zip_path) as archive:
        entries = _checked_entries(archive, zip_path.stat().st_size)
        total = sum(entry.file_size for entry in entries)
        require_space(folder.parent, total)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary,
            progress.track(f"Unpacking {zip_path.name}", total) as advance,
        ):
            fresh = Path(temporary) / folder.name
            fresh.mkdir()
            for entry in entries:
                _extract(archive, entry, fresh / entry.filename, advance)
            listing = {entry.filename: entry.file_size for entry in entries}
            (fresh / _MARKER).write_text(json.dumps(listing), "utf-8")
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
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"has compression method {entry.compress_type}; only stored and deflated are supported"
    return _why_name_refused(entry)


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
    # Names as a case-insensitive, normalising file system compares them.
    names = {entry.filename: unicodedata.normalize("NFC", entry.filename).casefold() for entry in files}
    seen = {_MARKER}
    for entry in files:
        if names[entry.filename] in seen:
            raise BadZipFile(f"entry {entry.filename!r} is listed twice")
        seen.add(names[entry.filename])
    for name in names.values():
        if parent := next((folder for folder in PurePosixPath(name).parents if str(folder) in seen), None):
            raise BadZipFile(f"entry {str(parent)!r} is both a file and a folder")


def _extract(archive: ZipFile, entry: ZipInfo, path: Path, advance: Advance) -> None:
    """Write one entry to `path`; zipfile verifies its checksum, this function its declared size."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
