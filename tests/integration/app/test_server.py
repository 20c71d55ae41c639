"""`bench serve`: the application by requests in this process, and the command as a user starts it."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.app import BENCH, free_port, wait_until_it_answers
from marsbench.deployment.bundle import Bundle

pytest.importorskip("fastapi", reason="no fastapi here: pip install 'marsbench[serve]'")
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from marsbench.app import server

Bench = Callable[..., Any]


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[TestClient]:
    with TestClient(server.make_server(bundle, ["testserver"])) as made:
        yield made


def test_a_recording_is_answered_as_by_the_bundle(client: TestClient, bundle: Bundle, clip: Path) -> None:
    answer = client.post("/predict", content=clip.read_bytes())
    assert answer.status_code == 200
    found = answer.json()
    assert found.pop("tested").startswith("How often this model is right is not known")
    assert found == json.loads(json.dumps(bundle.predict(clip).as_dict()))


@pytest.mark.parametrize(
    ("content", "headers", "code", "told"),
    [
        (b"", {}, 422, "empty: 0 bytes"),
        (b"no audio" * 100, {}, 422, "cannot be decoded"),
        (b"RIFF", {}, 422, ""),
        (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "send the file itself"),
        (b"0" * 2000, {}, 413, "too large"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    content: bytes, headers: dict[str, str], code: int, told: str, client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if code == 413:
        monkeypatch.setattr(server, "MAX_MEGABYTES", 0)
    answer = client.post("/predict", content=content, headers=headers)
    assert answer.status_code == code
    assert told in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def test_a_body_that_does_not_come_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def receive() -> dict[str, object]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    monkeypatch.setattr(server, "UPLOAD_SECONDS", 0.01)
    with pytest.raises(HTTPException) as refused:
        asyncio.run(server._body(Request({"type": "http", "headers": []}, receive)))
    assert refused.value.status_code == 408


def test_who_comes_when_all_places_are_taken_is_told_to_come_again(
    bundle: Bundle, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_WAITING", 0)
    with TestClient(server.make_server(bundle)) as full:
        answer = full.post("/predict", content=clip.read_bytes())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_health_page_and_schema_are_served_from_this_machine(client: TestClient, bundle: Bundle) -> None:
    health = client.get("/health").json()
    assert (health["status"], health["labels"], health["warning"]) == ("ok", list(bundle.labels), None)
    page = client.get("/").text
    assert "https://" not in page
    assert client.get("/assets/swagger-ui-bundle.js").status_code == 200
    schema = client.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.0.")  # the page shows no other
    assert '"null"' not in json.dumps(schema)  # 3.0 has no such type
    paths = schema["paths"]
    assert set(paths) == {"/predict", "/health"}
    assert {"200", "413", "415", "422", "503"} <= set(paths["/predict"]["post"]["responses"])


def test_another_name_of_this_machine_is_refused(client: TestClient) -> None:
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400


def test_a_folder_without_a_bundle_is_one_line_before_anything_is_served(bench: Bench) -> None:
    result = bench("serve", "nothing")
    assert result.exit_code == 1
    assert "nothing is not a bundle: there is no such folder" in result.stderr


def test_the_command_serves_until_it_is_interrupted(folder: Path, kit: Path, clip: Path) -> None:
    port = free_port()
    words = ["serve", str(folder), "--port", str(port), "--plugins", str(kit)]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-c", BENCH, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until_it_answers(f"{address}/health")
            url = f"{address}/predict"
            with urllib.request.urlopen(url, clip.read_bytes(), timeout=30) as answer:  # noqa: S310 - our own
                assert json.load(answer)["label"] == "high"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) in {0, 130}
        assert process.stdout is not None
        assert f"{address}: POST /predict, GET /health" in process.stdout.read()
