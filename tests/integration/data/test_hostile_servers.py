"""Servers that answer a download with anything else than the file."""

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from marsbench.data import bounded_http, download
from marsbench.data.download import Archive, fetch, read_small
from marsbench.errors import FetchError
from marsbench.progress import Silent

Serve = Callable[[bytes], str]
# urllib leaves the sockets of answers that it refuses to the collector of garbage.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Answer every connection with some bytes; gives the address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_WAITS", (0.0,))
    monkeypatch.setattr(bounded_http, "_MAX_BYTES", 1 << 17)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/c.zip"

        def answer(content: bytes) -> None:
            with suppress(OSError):  # the server was closed
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(1 << 16)
                        connection.sendall(content.replace(b"{here}", address.encode()))

        def start(content: bytes) -> str:
            Thread(target=answer, args=(content,), daemon=True).start()
            return address

        yield start
        server.shutdown(socket.SHUT_RDWR)
    gc.collect()


def redirection(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


def chunks(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + content


BAD_ADDRESS = "it leads to an address that is not valid"
BAD_CHUNK = "the connection was lost, or the server sent a chunk without a valid size"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ANSWERS = [
    (redirection("http://[::1"), BAD_ADDRESS),
    (redirection(f"http://{'a' * 300}.com/"), BAD_ADDRESS),
    (redirection("http://a..b/"), BAD_ADDRESS),
    (redirection("http://é.测试/x"), BAD_ADDRESS),
    (redirection("http://h:port/"), "nonnumeric port"),
    (redirection("http://a b/"), "can't contain control characters"),
    (redirection("file:///etc/passwd"), "not allowed"),
    (redirection("data:,x"), "not allowed"),
    (redirection("javascript:x"), "not allowed"),
    (redirection("ftp://127.0.0.1/x"), "unknown url type: ftp"),
    (redirection("{here}"), "the server redirects without end"),
    (chunks(b"-5\r\nhello\r\n"), BAD_CHUNK),
    (chunks(b"zz\r\nhello\r\n"), BAD_CHUNK),
    (chunks(b"1" * 70_000 + b"\r\n"), "more than 65536 bytes"),
    (b"HTTP/1.1 404 " + b"x" * 60_000 + b"\r\n\r\n", "the server answered 404 xxx"),
    (b"HTTP/1.1 404 \r\n\r\n", "the server answered 404"),
    (b"HTTP/1.1 404 \x1b[31mred\x9b\r\n\r\n", r"answered 404 \\x1b\[31mred\\x9b"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", "more than 100 headers"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "more than 65536 bytes"),
    (b"x" * 70_000, "more than 65536 bytes"),
    (CONTINUE * 6_000, "does not come to its content"),
    (CONTINUE + b"HTTP/1.1 404 No\r\n\r\n", "the server answered 404"),
    (
        b"HTTP/1.1 100 \r\n" + 3 * (b"X: " + b"y" * 60_000 + b"\r\n"),
        "does not come to its content",
    ),
    (b"\x00\xff\x1b" * 100, "x00"),
    (b"", "closed connection without response"),
]


@pytest.mark.parametrize(("answer", "reason"), ANSWERS, ids=[str(n) for n in range(len(ANSWERS))])
def test_whatever_a_server_answers_is_one_short_line(
    answer: bytes, reason: str, answering: Serve, tmp_path: Path
) -> None:
    address = answering(answer)
    with pytest.raises(FetchError, match=reason) as of_file:
        fetch([Archive(address, 1000, "md5", "0" * 32, "x.zip", "x")], tmp_path / "data", Silent())
    with pytest.raises(FetchError) as of_text:
        read_small(address, 1000)
    for caught in (of_file, of_text):
        message = str(caught.value).replace(str(tmp_path), "")
        assert message.isprintable()
        assert len(message) < 400


def test_a_server_that_sends_a_byte_at_a_time_is_given_up(
    answering: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_PATIENCE", 0.0)
    address = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    with pytest.raises(FetchError, match="less than 60,000 bytes in 0 s"):
        fetch([Archive(address, 1000, "md5", "0" * 32, "x.zip", "x")], tmp_path / "data", Silent())


@pytest.mark.parametrize("head", [CONTINUE, b"HTTP/1.1 200 OK\r\nX: y"])
def test_a_server_that_never_comes_to_the_content_is_given_up(
    head: bytes, answering: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_http, "_PATIENCE", -1.0)
    with pytest.raises(FetchError, match="the server sent no content within"):
        read_small(answering(head), 1000)


def test_a_small_file_that_comes_a_byte_at_a_time_is_given_up(
    answering: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_PATIENCE", -1.0)
    with pytest.raises(FetchError, match="no end within"):
        read_small(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"), 1000)


def test_the_size_of_a_chunk_that_comes_a_byte_at_a_time_is_given_up(
    answering: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(bounded_http._Head):
        def readline(self, limit: int) -> bytes:
            self._deadline = -1.0 if self._file.peek(1)[:1] == b"0" else self._deadline  # type: ignore[attr-defined]
            return super().readline(limit)

    monkeypatch.setattr(bounded_http, "_Head", Impatient)
    with pytest.raises(FetchError, match="the server sent no content within"):
        read_small(answering(chunks(b"0000000")), 1000)


def test_lines_without_end_behind_the_last_chunk_are_not_read(answering: Serve) -> None:
    assert read_small(answering(chunks(b"2\r\nok\r\n0\r\n" + b"X: y\r\n" * 50_000)), 10) == b"ok"


def test_an_answer_after_100_continue_is_read(answering: Serve) -> None:
    assert (
        read_small(answering(CONTINUE * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), 10) == b"ok"
    )
