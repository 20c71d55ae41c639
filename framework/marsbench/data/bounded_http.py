"""An opener of http and https addresses that bounds what a server sends before the content of its answer.

Python's own waits for as long as bytes come: a server may send one a minute, or `100 Continue` without end.
"""

import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import IO, Any
from urllib import request

_PATIENCE = 60.0
"""Seconds that all lines before the content may take."""
_MAX_BYTES = 1 << 20
"""Length of all lines before the content; those of usual answers have a kilobyte."""


def bounded_opener() -> request.OpenerDirector:
    """Opener that follows redirections to http and https only; urllib's default one also follows ftp."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        _HttpHandler,
        _HttpsHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


class _Head:
    """The lines of an answer before its content, read from a connection's file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._n_bytes, self._deadline = 0, time.monotonic() + _PATIENCE

    def readline(self, limit: int) -> bytes:
        """The next line, cut at `limit` bytes; raises HTTPException if it is too much or takes long."""
        line = bytearray()
        while len(line) < limit and not line.endswith(b"\n") and (byte := self._file.read(1)):
            line += byte
            if time.monotonic() > self._deadline:
                raise HTTPException(f"the server sent no content within {_PATIENCE:g} s")
        self._n_bytes += len(line)
        if self._n_bytes > _MAX_BYTES:
            raise HTTPException("the server's answer does not come to its content")
        return bytes(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Chunks:
    """A connection's file after the head: lines, which give the sizes of chunks, are bounded there too."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readline(self, limit: int) -> bytes:
        """The next line, bounded by itself; raises HTTPException as `_Head.readline`."""
        return _Head(self._file).readline(limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Response(HTTPResponse):
    def begin(self) -> None:
        """Read the lines before the content."""
        file = self.fp
        self.fp = _Head(file)  # type: ignore[assignment] # `begin` calls nothing else
        try:
            super().begin()
        finally:
            if self.fp is not None:  # it is where there is no content
                self.fp = _Chunks(file)  # type: ignore[assignment] # the same but for `readline`

    def _read_and_discard_trailer(self) -> None:
        """Leave what is behind the last chunk, which may be without end: the connection is closed."""


class _Http(HTTPConnection):
    response_class = _Response


class _Https(HTTPSConnection):
    response_class = _Response


class _HttpHandler(request.HTTPHandler):
    def http_open(self, req: request.Request) -> Any:
        """Open an address of the scheme http."""
        return self.do_open(_Http, req)


class _HttpsHandler(request.HTTPSHandler):
    def https_open(self, req: request.Request) -> Any:
        """Open an address of the scheme https."""
        return self.do_open(_Https, req)
