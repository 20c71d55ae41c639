import hashlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from marsbench.data import download
from marsbench.errors import ConfigError, FetchError
from marsbench.features import pretrained
from marsbench.features.pretrained import KNOWN, Published, add_encoder, fetch_encoder, find_encoder, present
from marsbench.progress import Silent

BODY = b"not really a model" * 100
OTHER = b"another model" * 100


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pointer(data: bytes) -> bytes:
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\nsize {len(data)}\n".encode()
    )


PINNED = Published("tiny", "some/tiny", "c0ffee", "onnx/model.onnx", "MIT", "", 2, len(BODY), sha256(BODY))
OPEN = Published("open", "some/open", "main", "onnx/model.onnx", "MIT", "", 2)


class Hub(ThreadingHTTPServer):
    """Serves files by path on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "/some/tiny/resolve/c0ffee/onnx/model.onnx": BODY,
            "/some/open/resolve/main/onnx/model.onnx": BODY,
            "/some/open/raw/main/onnx/model.onnx": pointer(BODY),
        }
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Any]) -> Iterator[Hub]:
    monkeypatch.setattr(pretrained, "KNOWN", (PINNED, OPEN))
    with Hub() as server, serve(server):
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        yield server


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_known_encoder_is_fetched_once_and_kept_under_its_name_and_checksum(hub: Hub, home: Path) -> None:
    file = fetch_encoder("tiny", Silent())
    assert file.path == home / "encoders" / f"tiny-{sha256(BODY)[:16]}.onnx"
    assert file.read() == BODY
    assert fetch_encoder("tiny", Silent()) == find_encoder("tiny") == file
    assert hub.asked == ["/some/tiny/resolve/c0ffee/onnx/model.onnx"]


def test_other_content_than_the_known_is_refused_and_removed(hub: Hub, home: Path) -> None:
    hub.files["/some/tiny/resolve/c0ffee/onnx/model.onnx"] = BODY[:-1] + b"x"
    with pytest.raises(FetchError, match=f"expected sha256 {sha256(BODY)}, found"):
        fetch_encoder("tiny", Silent())
    assert list((home / "encoders").iterdir()) == []


def test_where_no_checksum_is_known_the_hubs_own_is_believed_aloud(hub: Hub) -> None:
    heard = Heard()
    file = fetch_encoder("open", heard)
    assert heard.lines == [f"open: no checksum is known here; trusting the hub's: {sha256(BODY)}"]
    assert hub.asked == ["/some/open/raw/main/onnx/model.onnx", "/some/open/resolve/main/onnx/model.onnx"]
    assert find_encoder("open") == file


def test_content_that_is_not_what_the_hub_stated_is_refused(hub: Hub) -> None:
    hub.files["/some/open/resolve/main/onnx/model.onnx"] = BODY[:-1] + b"x"
    with pytest.raises(FetchError, match="is not the published file: expected sha256"):
        fetch_encoder("open", Silent())


@pytest.mark.parametrize("name", ["tiny", "open"])
def test_a_checksum_that_was_asked_for_is_held_against_the_hubs_before_the_download(
    hub: Hub, name: str
) -> None:
    with pytest.raises(
        FetchError, match=f"{name} has sha256 {sha256(BODY)} on the hub; {sha256(OTHER)} was asked"
    ):
        fetch_encoder(name, Silent(), sha256(OTHER))
    assert not any("resolve" in path for path in hub.asked)


def test_a_checksum_that_fits_is_not_talked_about(hub: Hub) -> None:
    heard = Heard()
    assert fetch_encoder("open", heard, sha256(BODY)).read() == BODY
    assert hub.asked
    assert heard.lines == []


@pytest.mark.parametrize("text", [b"", b"\x00\xff" * 20, pointer(BODY).replace(b"oid sha256", b"oid md5")])
def test_what_is_no_pointer_is_refused(hub: Hub, text: bytes) -> None:
    hub.files["/some/open/raw/main/onnx/model.onnx"] = text
    with pytest.raises(FetchError, match="is not a Git LFS pointer with size and sha256"):
        fetch_encoder("open", Silent())


def test_a_pointer_without_end_is_not_read_on(hub: Hub) -> None:
    hub.files["/some/open/raw/main/onnx/model.onnx"] = b"x" * 5000
    with pytest.raises(FetchError, match=r"is longer than 1,024 bytes"):
        fetch_encoder("open", Silent())


def test_a_pointer_that_is_not_there_is_named(hub: Hub) -> None:
    hub.files.clear()
    with pytest.raises(FetchError, match=r"raw/main/onnx/model.onnx could not be read: .* answered 404"):
        fetch_encoder("open", Silent())


def test_a_refused_connection_is_told_after_some_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("marsbench.data.download.time.sleep", waited.append)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(FetchError, match="connection refused"):
        download.read_small("http://127.0.0.1:1/pointer", 10)
    assert len(waited) == 3


def test_an_unknown_name_gets_the_nearest_one(hub: Hub) -> None:
    with pytest.raises(ConfigError, match=r"Unknown encoder 'tinny'. Did you mean 'tiny'"):
        fetch_encoder("tinny", Silent())
    assert hub.asked == []


def test_a_file_is_kept_under_its_own_name_and_found_by_it(tmp_path: Path) -> None:
    source = tmp_path / "My Model-v3.2.onnx"
    source.write_bytes(BODY)
    file = find_encoder(str(source))
    assert (file.name, file.sha256) == ("my-model-v3-2", sha256(BODY))
    source.unlink()
    assert find_encoder("my-model-v3-2") == find_encoder("my-model-v3-2", sha256(BODY)) == file
    assert list(present()) == [(file.name, file.path)]


def test_a_file_of_another_checksum_than_asked_for_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.onnx"
    source.write_bytes(BODY)
    with pytest.raises(ConfigError, match=f"expected sha256 {sha256(OTHER)}, found {sha256(BODY)}"):
        find_encoder(str(source), sha256(OTHER))
    with pytest.raises(ConfigError, match="whisper_tiny"):
        find_encoder("whisper_tiny")
    with pytest.raises(ConfigError, match="is not the encoder whisper_tiny"):
        add_encoder(source, "whisper_tiny")
    assert list(present()) == []


def test_a_known_encoder_is_recognised_by_its_content(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "downloaded by hand.onnx").write_bytes(BODY)
    assert find_encoder("./downloaded by hand.onnx") == fetch_encoder("tiny", Silent())
    assert hub.asked == []


def test_two_files_of_one_name_are_told_apart_by_checksum_alone(tmp_path: Path) -> None:
    for data in (BODY, OTHER):
        (tmp_path / "a.onnx").write_bytes(data)
        add_encoder(tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match="several encoders are called a"):
        find_encoder("a")
    assert find_encoder("a", sha256(OTHER)).read() == OTHER


@pytest.mark.parametrize(
    ("word", "checksum", "told"),
    [
        ("whisper_tiny", "", "encoder whisper_tiny is not installed: bench models fetch whisper_tiny"),
        ("hubert_base", "", "encoder hubert_base is not installed: bench models fetch hubert_base"),
        ("wisper_tiny", "", "Unknown encoder 'wisper_tiny'. Did you mean 'whisper_tiny'"),
        ("mine", "", "Unknown encoder 'mine'. Available: hubert_base, .* Or give the path of an .onnx file"),
        (
            "mine",
            "0" * 64,
            "encoder mine is not installed: bench models add FILE --name mine, with the",
        ),
        ("mine", "0" * 63, "is not a sha256: 64 digits"),
        ("nowhere/mine.onnx", "", "encoder nowhere/mine.onnx cannot be read: No such file"),
        ("~nobody_here/mine.onnx", "", "encoder ~nobody_here/mine.onnx cannot be read"),
    ],
)
def test_what_is_not_here_says_how_to_get_it(word: str, checksum: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        find_encoder(word, checksum)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(BODY[1:]), lambda path: path.unlink()])
def test_a_file_that_is_no_longer_what_was_kept_is_refused(tmp_path: Path, damage: Any) -> None:
    (tmp_path / "a.onnx").write_bytes(BODY)
    file = add_encoder(tmp_path / "a.onnx")
    damage(file.path)
    with pytest.raises(ConfigError, match=r"is damaged; remove it|cannot be read"):
        file.read()


def test_the_table_pins_what_it_has_a_checksum_of() -> None:
    assert len({known.name for known in KNOWN}) == len(KNOWN)
    for known in KNOWN:
        digits = (len(known.revision), len(known.sha256 or ""))
        assert digits == (40, 64) if known.sha256 else known.revision == "main"


def test_the_commands_list_add_and_find(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(BODY)
    added = bench("models", "add", "mine.onnx", "--name", "own")
    assert added.stdout.startswith("own is ")
    listed = bench("models", "list").stdout
    assert "whisper_tiny" in listed
    assert sha256(BODY)[:8] in listed
    assert Path(bench("models", "path", "own").stdout.strip()).read_bytes() == BODY
    assert "Did you mean 'own'" in bench("models", "path", "owm").stderr


def test_the_command_fetches(bench: Any, hub: Hub) -> None:
    result = bench("models", "fetch", "tiny")
    assert "--set speech_encoder.encoder=tiny" in result.stdout
    assert len(hub.asked) == 1
    assert bench("models", "fetch", "tiny", "--sha256", "12").exit_code == 1
