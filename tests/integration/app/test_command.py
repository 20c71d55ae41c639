"""`bench app`, up to the browser."""

import socket
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM
from typing import Any

import pytest

from marsbench.atomic_files import home
from marsbench.cli import app
from marsbench.environment import install_hint

Bench = Callable[..., Any]


def test_without_streamlit_one_line_says_how_to_get_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda _: None)
    result = bench("app")
    assert result.exit_code == 1
    assert install_hint("app") in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_without_a_bundle_is_one_line_before_anything_is_served(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda _: object())
    result = bench("app", "nothing")
    assert result.exit_code == 1
    assert "nothing is not a bundle: there is no such folder" in result.stderr


def test_the_server_is_this_machines_alone_and_tells_nobody(
    bench: Bench, folder: Path, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def serve(command: list[str], environment: dict[str, str]) -> int:
        told.extend([*command, environment["STREAMLIT_SERVER_ALLOWED_HOSTS"]])
        return 0

    monkeypatch.setattr(app, "find_spec", lambda _: object())
    monkeypatch.setattr(app, "_serve", serve)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])  # free once this is closed
    assert bench("app", folder, "--port", port, "--plugins", kit, "--results", "here").exit_code == 0
    words = " ".join(told)
    for expected in (
        "--server.address 127.0.0.1",
        "--server.enableXsrfProtection true",
        "--server.enableCORS true",
        f"--server.port {port}",
        "--server.maxUploadSize 50",
        "--browser.gatherUsageStats false",
        f"-- {folder} --results {Path('here').absolute()} --plugins {kit} localhost 127.0.0.1",
    ):
        assert expected in words


def test_a_port_in_use_is_one_line(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda _: object())
    monkeypatch.setattr(app, "_serve", lambda *_: 0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = bench("app", folder, "--port", str(port))
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"bench: port {port} cannot be used: Address already in use; choose another with --port\n"
    )


def status_of(address: str, **headers: str) -> tuple[int, str | None]:
    """Status and `Access-Control-Allow-Origin` of an answer."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=10)
    with closing(connection):
        connection.request(
            "GET", "/_stcore/stream" if "Upgrade" in headers else "/_stcore/health", headers=headers
        )
        answer = connection.getresponse()
        return answer.status, answer.getheader("Access-Control-Allow-Origin")


def socket_status(address: str, host: str, origin: str) -> int:
    """Status of the answer to a browser's page that wants to talk to the server."""
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Host": host, "Origin": origin}
    return status_of(address, **upgrade, **key)[0]


def test_settings_and_modules_in_the_working_directory_are_not_the_servers(served: Any) -> None:
    """The page is served from a folder with a hostile queue.py and config.toml; see the fixture."""
    port = served.address.rpartition(":")[2]
    assert not Path(served.folder, "imported").exists()
    assert status_of(served.address, Origin="http://evil.example")[1] in {None, served.address}
    for host in ("localhost", "127.0.0.1"):
        own = f"{host}:{port}"
        assert socket_status(served.address, own, f"http://{own}") == 101
        assert socket_status(served.address, own, "http://evil.example") == 403
    assert socket_status(served.address, f"evil.example:{port}", f"http://evil.example:{port}") == 403


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP, SIGKILL])
def test_whatever_ends_the_command_ends_the_page(number: int, serve_page: Any) -> None:
    with serve_page() as served:
        served.process.send_signal(number)
        assert served.process.wait(20) in {0, -number}
        with socket.socket() as caller:
            assert caller.connect_ex(("127.0.0.1", int(served.address.rpartition(":")[2]))) != 0


@pytest.mark.slow
def test_the_demo_model_is_trained_and_answers() -> None:
    from marsbench.app.inference import demo_folder, predict_bytes, train_demo
    from marsbench.deployment.bundle_files import read_bundle
    from marsbench.plugin.registry import discover

    train_demo(discover(()))
    bundle = read_bundle(demo_folder(), discover(()))
    clip = next(home().glob("demo/*/angry/*.wav"))
    assert bundle.record.corpus.synthetic
    assert predict_bytes(bundle, clip.read_bytes()).prediction.label == "angry"
