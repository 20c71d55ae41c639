import hashlib
import io
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from marsbench.data import download as fetch_module
from marsbench.data.download import Archive, fetch
from marsbench.errors import FetchError
from marsbench.progress import Advance, Silent

FILES = {f"Actor_0{actor}/clip {number}.wav": bytes(range(256)) * 20 for actor in (1, 2) for number in (1, 2)}


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


BODY = zipped(FILES)


class Publisher(ThreadingHTTPServer):
    """Serves one file on this machine, as well or as badly as told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.resumes = True
        self.content_range = ""
        self.states_length = True
        self.statuses: list[int] = []
        """Answered to the first requests instead of the file."""
        self.cuts: list[int] = []
        """Bytes after which the first answers break off."""
        self.asked: list[str | None] = []
        """Range header of each request."""

    @property
    def archive(self) -> Archive:
        url = f"http://127.0.0.1:{self.server_port}/files/clips.zip"
        checksum = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
        return Archive(url, len(BODY), "md5", checksum, "clips.zip", "speech")


class Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        publisher, wanted = self.server, self.headers.get("Range")
        publisher.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and publisher.resumes else 0
        if publisher.statuses:
            self.send_error(publisher.statuses.pop(0))
        elif start and start >= len(publisher.body):
            self.send_error(416)
        else:
            self.send_file(start)

    def send_file(self, start: int) -> None:
        publisher, size = self.server, len(self.server.body)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", publisher.content_range or f"bytes {start}-{size - 1}/{size}")
        if publisher.states_length:
            self.send_header("Content-Length", str(size - start))
        self.end_headers()
        rest = publisher.body[start:]
        self.wfile.write(rest[: publisher.cuts.pop(0)] if publisher.cuts else rest)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture
def publisher(serve: Callable[..., Any]) -> Iterator[Publisher]:
    with Publisher() as server, serve(server):
        yield server


class Target(NamedTuple):
    folder: Path

    @property
    def zip(self) -> Path:
        return self.folder / "clips.zip"

    @property
    def part(self) -> Path:
        return self.folder / "clips.zip.part"

    def unpacked(self) -> dict[str, bytes]:
        root = self.folder / "speech"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.wav")}


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path / "data" / "ravdess")


def go(archive: Archive, target: Target, tries: int = 3) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch_module, "_WAITS", [0.0] * (tries - 1))
        fetch([archive], target.folder, Silent())


def test_an_archive_is_downloaded_checked_and_unpacked(publisher: Publisher, target: Target) -> None:
    go(publisher.archive, target)
    assert target.unpacked() == FILES
    assert target.zip.read_bytes() == BODY
    assert not target.part.exists()


def test_what_is_done_is_not_done_again(publisher: Publisher, target: Target) -> None:
    go(publisher.archive, target)
    target.zip.unlink()
    go(publisher.archive, target)
    assert publisher.asked == [None]


def test_a_zip_put_there_by_hand_is_used(publisher: Publisher, target: Target) -> None:
    target.folder.mkdir(parents=True)
    target.zip.write_bytes(BODY)
    go(publisher.archive, target)
    assert target.unpacked() == FILES
    assert publisher.asked == []


@pytest.mark.parametrize("body", [BODY[:-1], BODY[:-1] + b"x"])
def test_a_wrong_zip_put_there_by_hand_is_refused_and_left_alone(
    body: bytes, publisher: Publisher, target: Target
) -> None:
    target.folder.mkdir(parents=True)
    target.zip.write_bytes(body)
    with pytest.raises(FetchError, match=r"clips.zip is not the published file: expected .* remove it"):
        go(publisher.archive, target)
    assert target.zip.read_bytes() == body


def test_a_cut_download_is_resumed_where_it_broke_off(publisher: Publisher, target: Target) -> None:
    publisher.cuts = [100, 50]
    go(publisher.archive, target)
    assert publisher.asked == [None, "bytes=100-", "bytes=150-"]
    assert target.unpacked() == FILES


def test_a_download_that_is_cut_each_time_leaves_what_came_for_the_next_call(
    publisher: Publisher, target: Target
) -> None:
    publisher.cuts = [100, 50]
    with pytest.raises(FetchError, match="the connection was lost after 150 of"):
        go(publisher.archive, target, tries=2)
    assert target.part.read_bytes() == BODY[:150]
    go(publisher.archive, target)
    assert publisher.asked[-1] == "bytes=150-"
    assert target.unpacked() == FILES


@pytest.mark.parametrize("tries", [1, 3])
def test_a_server_that_does_not_resume_is_read_from_the_start(
    tries: int, publisher: Publisher, target: Target
) -> None:
    publisher.resumes = False
    target.folder.mkdir(parents=True)
    target.part.write_bytes(b"x" * 100)
    go(publisher.archive, target, tries)
    assert publisher.asked == ["bytes=100-"]
    assert target.unpacked() == FILES


@pytest.mark.parametrize(
    "content_range", ["bytes 0-9/10", f"bytes 100-{len(BODY)}/999", "bytes */10", "nonsense"]
)
def test_a_server_that_resumes_elsewhere_is_read_from_the_start(
    content_range: str, publisher: Publisher, target: Target
) -> None:
    publisher.content_range = content_range
    target.folder.mkdir(parents=True)
    target.part.write_bytes(BODY[:100])
    go(publisher.archive, target)
    assert publisher.asked == ["bytes=100-", None]
    assert target.unpacked() == FILES


def test_a_range_that_the_server_refuses_is_read_from_the_start(publisher: Publisher, target: Target) -> None:
    publisher.statuses = [416]
    target.folder.mkdir(parents=True)
    target.part.write_bytes(BODY[:100])
    go(publisher.archive, target, tries=1)
    assert publisher.asked == ["bytes=100-", None]


def test_a_partial_file_longer_than_the_published_one_is_begun_anew(
    publisher: Publisher, target: Target
) -> None:
    target.folder.mkdir(parents=True)
    target.part.write_bytes(BODY + b"x")
    go(publisher.archive, target)
    assert publisher.asked == [None]


def test_a_complete_partial_file_needs_no_connection(publisher: Publisher, target: Target) -> None:
    target.folder.mkdir(parents=True)
    target.part.write_bytes(BODY)
    go(publisher.archive, target)
    assert publisher.asked == []
    assert target.unpacked() == FILES


def test_a_wrong_checksum_names_both_and_the_next_call_starts_over(
    publisher: Publisher, target: Target
) -> None:
    publisher.body = BODY[:-1] + b"x"
    found = hashlib.md5(publisher.body, usedforsecurity=False).hexdigest()
    with pytest.raises(FetchError, match=f"expected md5 {publisher.archive.checksum}, found {found}"):
        go(publisher.archive, target)
    assert list(target.folder.iterdir()) == []
    publisher.body = BODY
    go(publisher.archive, target)
    assert publisher.asked == [None, None]


def test_an_announced_wrong_size_is_refused_before_anything_is_read(
    publisher: Publisher, target: Target
) -> None:
    publisher.body = BODY + b"x"
    with pytest.raises(
        FetchError, match=f"the server offers {len(BODY) + 1:,} bytes, {len(BODY):,} were published"
    ):
        go(publisher.archive, target)
    assert not target.part.exists()


def test_a_body_without_end_is_read_no_further_than_published(publisher: Publisher, target: Target) -> None:
    publisher.states_length, publisher.body = False, BODY * 1000
    taken: list[int] = []

    class Counting(Silent):
        @contextmanager
        def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:  # noqa: ARG002 - only bytes count
            yield taken.append

    with pytest.raises(FetchError, match=f"expected {len(BODY):,} bytes, found more"):
        fetch([publisher.archive], target.folder, Counting())
    assert sum(taken) == len(BODY) + 1
    assert list(target.folder.iterdir()) == []


def test_a_body_of_unknown_length_is_accepted(publisher: Publisher, target: Target) -> None:
    publisher.states_length = False
    go(publisher.archive, target)
    assert target.unpacked() == FILES


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_lasting_refusal_says_how_to_fetch_by_hand(
    status: int, publisher: Publisher, target: Target
) -> None:
    publisher.statuses = [status]
    with pytest.raises(FetchError, match=f"the server answered {status}") as caught:
        go(publisher.archive, target)
    assert f"save {publisher.archive.url} as {target.zip}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(publisher.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_tried_again(status: int, publisher: Publisher, target: Target) -> None:
    publisher.statuses = [status, status]
    go(publisher.archive, target)
    assert len(publisher.asked) == 3
    assert target.unpacked() == FILES


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_refused_connection_says_how_to_fetch_by_hand(target: Target, publisher: Publisher) -> None:
    archive = replace(publisher.archive, url=f"http://127.0.0.1:{closed_port()}/clips.zip")
    with pytest.raises(FetchError, match="could not be downloaded: connection refused; try again, or save"):
        go(archive, target)


def test_a_server_that_never_answers_is_given_up(
    target: Target, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        archive = replace(publisher.archive, url=f"http://127.0.0.1:{deaf.getsockname()[1]}/clips.zip")
        with pytest.raises(FetchError, match=r"no answer within 0.05 s"):
            go(archive, target, tries=1)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/clips.zip", "clips.zip"])
def test_only_http_and_https_are_asked(url: str, target: Target, publisher: Publisher) -> None:
    with pytest.raises(FetchError, match="is not an http or https address"):
        go(replace(publisher.archive, url=url), target)


class StopAfterFirstChunk(Silent):
    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:  # noqa: ARG002 - as everywhere
        def advance(steps: int) -> None:
            if steps:
                raise KeyboardInterrupt

        yield advance


def test_an_interrupted_download_can_be_resumed(
    publisher: Publisher, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "_CHUNK", 64)
    with pytest.raises(KeyboardInterrupt):
        fetch([publisher.archive], target.folder, StopAfterFirstChunk())
    assert target.part.read_bytes() == BODY[:64]
    go(publisher.archive, target)
    assert publisher.asked == [None, "bytes=64-"]
    assert target.unpacked() == FILES


def test_a_full_disk_is_named_before_the_download(
    publisher: Publisher, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1))
    with pytest.raises(FetchError, match=f"{len(BODY):,} bytes needed, 1 free"):
        go(publisher.archive, target)
    assert publisher.asked == []


def test_a_folder_that_cannot_be_made_is_named(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchError, match=r"the folder .* cannot be created: (Not a directory|File exists)"):
        go(publisher.archive, Target(tmp_path / "file" / "below"))
