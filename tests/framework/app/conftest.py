"""The page with a bundle of fakes on sine clips, in this process or in a browser."""

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any, NamedTuple, cast

import pytest

from marsbench.audio_check import check_audio
from marsbench.bundle.bundle import Bundle
from marsbench.bundle.files import write_bundle
from marsbench.corpus import CheckedCorpus
from marsbench.export.refit import fit_bundle
from marsbench.export.samples import golden_samples
from marsbench.planning import make_pipeline
from marsbench.plugin.dataset import Dataset
from marsbench.plugin.registry import discover

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--remote-debugging-port=0",
]  # fmt: skip
PATIENCE = 60.0
BENCH = """
import signal
from marsbench.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
main()
"""


@pytest.fixture
def corpus(kit: Path) -> CheckedCorpus:
    return check_audio(cast("Dataset", discover((kit,)).get("datasets", "tones").plugin.create({})).load())


@pytest.fixture
def bundle(corpus: CheckedCorpus, kit: Path) -> Bundle:
    registry = discover((kit,))
    return fit_bundle(corpus, make_pipeline(registry, "crossings", "nearest_mean", {}), registry, seed=0)


@pytest.fixture
def folder(bundle: Bundle, corpus: CheckedCorpus, tmp_path: Path) -> Path:
    write_bundle(bundle, tmp_path / "bundle", golden_samples(corpus))
    return tmp_path / "bundle"


@pytest.fixture
def clip(corpus: CheckedCorpus) -> Path:
    """A clip of class `high`."""
    return next(clip.path for clip in corpus.clips if clip.label == "high")


class Browser:
    """Chromium on one page, told what to do over its debugging port."""

    def __init__(self, profile: Path, stack: ExitStack) -> None:
        from websockets.sync.client import connect

        assert CHROMIUM is not None
        command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", "about:blank"]
        self.process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
        stack.callback(self.process.kill)
        assert self.process.stderr is not None
        told = next(line for line in self.process.stderr if "DevTools listening on" in line)
        port = re.findall(r":(\d+)/", told)[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            (page,) = (entry for entry in json.load(answer) if entry["type"] == "page")
        self.socket = stack.enter_context(connect(page["webSocketDebuggerUrl"], max_size=None))
        self.numbers = itertools.count(1)

    def tell(self, method: str, **parameters: Any) -> Any:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(timeout=PATIENCE))).get("id") != number:
            pass
        return answer["result"]

    def ask(self, script: str) -> Any:
        return self.tell("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, script: str) -> Any:
        end = time.monotonic() + PATIENCE
        while not (value := self.ask(script)):
            assert time.monotonic() < end, f"never: {script}\n{self.ask('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def wait_for_words(self, words: str) -> None:
        self.wait_for(f"document.body.innerText.includes({json.dumps(words)})")

    def upload(self, path: Path) -> None:
        self.wait_for("document.querySelector('input[type=file]') !== null")
        root = self.tell("DOM.getDocument")["root"]["nodeId"]
        node = self.tell("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.tell("DOM.setFileInputFiles", nodeId=node, files=[str(path.absolute())])


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with ExitStack() as stack:
        yield Browser(tmp_path / "chromium", stack)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Served(NamedTuple):
    """A page and the process of `bench app`."""

    address: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def served(folder: Path, kit: Path) -> Iterator[Served]:
    """The page as `bench app` serves it."""
    pytest.importorskip("streamlit", reason="no streamlit here: pip install 'marsbench[app]'")
    port = str(free_port())
    words = ["app", str(folder), "--port", port, "--plugins", str(kit)]
    command = [sys.executable, "-c", BENCH, *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            wait_until_it_answers(f"http://localhost:{port}/_stcore/health")
            yield Served(f"http://localhost:{port}", server)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, SIGKILL)


def wait_until_it_answers(address: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - our own page
                return
        except OSError:
            assert time.monotonic() < end, f"{address} does not answer"
            time.sleep(0.05)


@pytest.fixture
def chromium() -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
