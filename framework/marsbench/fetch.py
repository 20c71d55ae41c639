"""Download published archives and unpack them, trusting neither the network nor the archive."""

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from importlib.metadata import version
from pathlib import Path
from typing import cast
from urllib import request
from urllib.error import HTTPError, URLError

from marsbench.errors import FetchError
from marsbench.progress import Progress
from marsbench.unzip import is_unpacked, require_space, unpack

_WAITS = (1.0, 3.0, 9.0)
_TIMEOUT = 30.0
_CHUNK = 1 << 18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that another try may not meet again."""
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True, slots=True)
class Archive:
    """One published zip file."""

    url: str
    size: int
    """Bytes."""
    md5: str
    folder: str
    """Where its contents go below the target."""

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return self.url.rpartition("/")[2]


def fetch(
    archives: Sequence[Archive], target: Path, progress: Progress, waits: Sequence[float] = _WAITS
) -> None:
    """Download each archive into `target` and unpack it into its folder there; what is done stays done.

    A download goes into `NAME.part`, is resumed where it was cut or interrupted, and becomes `NAME` once its
    size and md5 are the published ones. A zip that lies there already is used if they are.

    Args:
        archives: what to fetch.
        target: folder, made if need be.
        progress: shown bytes.
        waits: seconds before each further try after a failure that may pass.

    Raises:
        FetchError: no connection, not the published archive, a hostile or broken one, or a full disk.
    """
    for archive in archives:
        folder = target / archive.folder
        if is_unpacked(folder):
            progress.say(f"{folder} is already there")
        else:
            unpack(_obtain(archive, target, progress, waits), folder, progress)


def _obtain(archive: Archive, target: Path, progress: Progress, waits: Sequence[float]) -> Path:
    """Path of the verified zip, downloaded unless it is there."""
    path = target / archive.file_name
    if path.exists():
        if wrong := _difference(archive, path):
            raise FetchError(f"{path} is not the published archive: {wrong}; remove it and try again")
        return path
    part = target / f"{archive.file_name}.part"
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(f"no folder can be made at {target}: {error.strerror}") from error
    require_space(target, archive.size - _size(part))
    _download(archive, part, progress, waits)
    if wrong := _difference(archive, part):
        part.unlink()
        raise FetchError(f"{archive.url} gave another file: {wrong}; it was removed, try again")
    return part.replace(path)


def _difference(archive: Archive, path: Path) -> str | None:
    """How a file differs from the published one."""
    if (size := _size(path)) != archive.size:
        return f"expected {archive.size:,} bytes, found {'more' if size > archive.size else f'{size:,}'}"
    with path.open("rb") as file:
        # md5 is what the publisher states; it guards against damage, not against a forger.
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return None if md5 == archive.md5 else f"expected md5 {archive.md5}, found {md5}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(archive: Archive, part: Path, progress: Progress, waits: Sequence[float]) -> None:
    """Fill `part`, trying again after failures that may pass."""
    for wait in (*waits, None):
        try:
            _receive(archive, part, progress)
        except (OSError, HTTPException) as error:
            reason = _reason(error)
            if wait is None or (isinstance(error, HTTPError) and error.code not in _PASSING):
                raise FetchError(_by_hand(archive, part.parent, reason)) from error
            progress.say(f"{archive.file_name}: {reason}; trying again in {wait:g} s")
            time.sleep(wait)
        else:
            return


def _by_hand(archive: Archive, target: Path, reason: str) -> str:
    return (
        f"{archive.file_name} could not be downloaded: {reason}; try again, or save {archive.url} as "
        f"{target / archive.file_name} and repeat the command"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answered {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {_TIMEOUT:g} s"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(text).split()).lower()


def _receive(archive: Archive, part: Path, progress: Progress) -> None:
    """Append what is missing to `part`, or begin it anew where the server does not resume.

    One byte more than published is accepted, so that an overlong file is noticed, and no further one.
    """
    have = _size(part)
    if have == archive.size:
        return
    response, received = _open(archive, have if have < archive.size else 0)
    with (
        response,
        part.open("ab" if received else "wb") as file,
        progress.track(f"Downloading {archive.file_name}", archive.size) as advance,
    ):
        advance(received)
        while chunk := response.read(min(_CHUNK, archive.size + 1 - received)):
            file.write(chunk)
            received += len(chunk)
            advance(len(chunk))
    if received < archive.size:
        raise ConnectionError(f"the connection was cut after {received:,} of {archive.size:,} bytes")


def _open(archive: Archive, offset: int) -> tuple[HTTPResponse, int]:
    """The response, and the byte at which its body begins: `offset`, or 0 if the server does not resume."""
    try:
        response = _ask(archive.url, offset)
    except HTTPError as error:
        error.close()
        if offset and error.code == _RANGE_NOT_SATISFIABLE:
            return _open(archive, 0)
        raise
    resumes = bool(offset) and response.status == 206
    if resumes and not _continues(response, offset, archive.size):
        response.close()
        return _open(archive, 0)
    start = offset if resumes else 0
    if response.length is not None and start + response.length != archive.size:
        response.close()
        found = f"{start + response.length:,} bytes are offered, {archive.size:,} were published"
        raise FetchError(f"{archive.url} is not the published archive: {found}")
    return response, start


def _continues(response: HTTPResponse, offset: int, size: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return bool(re.fullmatch(rf"bytes {offset}-\d+/({size}|\*)", content_range))


def _ask(url: str, offset: int) -> HTTPResponse:
    """Response to a GET of everything from `offset` on."""
    if not url.startswith(("https://", "http://")):
        raise FetchError(f"{url} is no http or https address")
    headers = {
        "User-Agent": f"marsbench/{version('marsbench')} (audio emotion benchmark)",
        "Accept-Encoding": "identity",
    }
    if offset:
        headers["Range"] = f"bytes={offset}-"
    question = request.Request(url, headers=headers)  # noqa: S310 - the scheme has been checked
    return cast("HTTPResponse", _opener().open(question, timeout=_TIMEOUT))


def _opener() -> request.OpenerDirector:
    """Follows redirections to http and https only, where urllib's own would also follow ftp."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
