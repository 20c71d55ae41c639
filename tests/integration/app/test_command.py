"""`bench app`, up to the browser."""

import socket
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT
from typing import Any

import pytest

from marsbench.atomic_files import home
from marsbench.cli import app

Bench = Callable[..., Any]


def test_without_streamlit_one_line_says_how_to_get_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda _: None)
    result = bench("app")
    assert result.exit_code == 1
    assert "pip install 'marsbench[app]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_without_a_bundle_is_one_line_before_anything_is_served(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda _: object())
    result = bench("app", "nothing")
    assert result.exit_code == 1
    assert "nothing/bundle.json cannot be read" in result.stderr


def test_the_server_is_this_machines_alone_and_tells_nobody(
    bench: Bench, folder: Path, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def serve(command: list[str]) -> int:
        told.extend(command)
        return 0

    monkeypatch.setattr(app, "find_spec", lambda _: object())
    monkeypatch.setattr(app, "_serve", serve)
    with socket.create_server(("localhost", 0)) as other:
        port = str(other.getsockname()[1])  # free once this is closed
    assert bench("app", folder, "--port", port, "--plugins", kit, "--results", "here").exit_code == 0
    words = " ".join(told)
    for expected in (
        "--server.address localhost",
        f"--server.port {port}",
        "--server.maxUploadSize 50",
        "--browser.gatherUsageStats false",
        f"-- {folder} --results here --plugins {kit}",
    ):
        assert expected in words


def test_a_port_in_use_is_one_line(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda _: object())
    monkeypatch.setattr(app, "_serve", lambda _: 0)
    with socket.create_server(("localhost", 0)) as other:
        port = other.getsockname()[1]
        result = bench("app", folder, "--port", str(port))
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"bench: port {port} cannot be used: Address already in use; choose another with --port\n"
    )


def test_ctrl_c_ends_the_server_in_silence(served: Any) -> None:
    served.process.send_signal(SIGINT)
    assert served.process.wait(20) == 0
    with socket.socket() as caller:
        assert caller.connect_ex(("localhost", int(served.address.rpartition(":")[2]))) != 0


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
