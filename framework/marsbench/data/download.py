"""Download published files and unpack archives, trusting neither the network nor the archive."""

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast
from urllib import request
from urllib.error import HTTPError, URLError

from marsbench.data.archives import is_unpacked, require_space, unpack
from marsbench.errors import FetchError
from marsbench.progress import Progress

_WAITS = (1.0, 3.0, 9.0)
_TIMEOUT = 30.0
_CHUNK = 1 << 18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that another try may not meet again."""
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True, slots=True)
class Download:
    """One published file."""

    url: str
    size: int
    """Bytes."""
    algorithm: Literal["md5", "sha256"]
    checksum: str
    """Hexadecimal, as the publisher states it."""
    file_name: str
    """What it is called here."""


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

    @property
    def download(self) -> Download:
        """The zip itself."""
        return Download(self.url, self.size, "md5", self.md5, self.file_name)


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
            unpack(obtain(archive.download, target, progress, waits), folder, progress)


def obtain(wanted: Download, target: Path, progress: Progress, waits: Sequence[float] = _WAITS) -> Path:
    """Path of the verified file, downloaded into folder `target` unless it is there; see `fetch`."""
    path = target / wanted.file_name
    if path.exists():
        if wrong := _difference(wanted, path):
            raise FetchError(f"{path} is not the published file: {wrong}; remove it and try again")
        return path
    part = target / f"{wanted.file_name}.part"
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(f"no folder can be made at {target}: {error.strerror}") from error
    require_space(target, wanted.size - _size(part))
    _download(wanted, part, progress, waits)
    if wrong := _difference(wanted, part):
        part.unlink()
        raise FetchError(f"{wanted.url} gave another file: {wrong}; it was removed, try again")
    return part.replace(path)


def _difference(wanted: Download, path: Path) -> str | None:
    """How a file differs from the published one."""
    if (size := _size(path)) != wanted.size:
        return f"expected {wanted.size:,} bytes, found {'more' if size > wanted.size else f'{size:,}'}"
    with path.open("rb") as file:
        # Where md5 is what the publisher states, it guards against damage, not against a forger.
        found = hashlib.file_digest(
            file, lambda: hashlib.new(wanted.algorithm, usedforsecurity=False)
        ).hexdigest()
    fits = found == wanted.checksum
    return None if fits else f"expected {wanted.algorithm} {wanted.checksum}, found {found}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(wanted: Download, part: Path, progress: Progress, waits: Sequence[float]) -> None:
    """Fill `part`, trying again after failures that may pass."""
    for wait in (*waits, None):
        try:
            _receive(wanted, part, progress)
        except (OSError, HTTPException) as error:
            reason = _reason(error)
            if wait is None or not _may_pass(error):
                raise FetchError(_by_hand(wanted, part.parent, reason)) from error
            progress.say(f"{wanted.file_name}: {reason}; trying again in {wait:g} s")
            time.sleep(wait)
        else:
            return


def _may_pass(error: Exception) -> bool:
    return not isinstance(error, HTTPError) or error.code in _PASSING


def _by_hand(wanted: Download, target: Path, reason: str) -> str:
    return (
        f"{wanted.file_name} could not be downloaded: {reason}; try again, or save {wanted.url} as "
        f"{target / wanted.file_name} and repeat the command"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answered {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {_TIMEOUT:g} s"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(text).split()).lower()


def _receive(wanted: Download, part: Path, progress: Progress) -> None:
    """Append what is missing to `part`, or begin it anew where the server does not resume.

    One byte more than published is accepted, so that an overlong file is noticed, and no further one.
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
        while chunk := response.read(min(_CHUNK, wanted.size + 1 - received)):
            file.write(chunk)
            received += len(chunk)
            advance(len(chunk))
    if received < wanted.size:
        raise ConnectionError(f"the connection was cut after {received:,} of {wanted.size:,} bytes")


def _open(wanted: Download, offset: int) -> tuple[HTTPResponse, int]:
    """The response, and the byte at which its body begins: `offset`, or 0 if the server does not resume."""
    try:
        response = _ask(wanted.url, offset)
    except HTTPError as error:
        error.close()
        if offset and error.code == _RANGE_NOT_SATISFIABLE:
            return _open(wanted, 0)
        raise
    resumes = bool(offset) and response.status == 206
    if resumes and not _continues(response, offset, wanted.size):
        response.close()
        return _open(wanted, 0)
    start = offset if resumes else 0
    if response.length is not None and start + response.length != wanted.size:
        response.close()
        found = f"{start + response.length:,} bytes are offered, {wanted.size:,} were published"
        raise FetchError(f"{wanted.url} is not the published file: {found}")
    return response, start


def _continues(response: HTTPResponse, offset: int, size: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return bool(re.fullmatch(rf"bytes {offset}-\d+/({size}|\*)", content_range))


def read_small(url: str, most: int, waits: Sequence[float] = _WAITS) -> bytes:
    """A published text of at most `most` bytes; raises FetchError, also where it is longer."""
    for wait in (*waits, None):
        try:
            with _ask(url, 0) as response:
                data = response.read(most + 1)
            break
        except (OSError, HTTPException) as error:
            if wait is None or not _may_pass(error):
                raise FetchError(f"{url} could not be read: {_reason(error)}") from error
            time.sleep(wait)
    if len(data) > most:
        raise FetchError(f"{url} is longer than {most:,} bytes")
    return data


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
