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
MICROPHONE = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
PATIENCE = 60.0
BENCH = """
import signal
from marsbench.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what all tests of a module look at, with a home in it."""
    folder = tmp_path_factory.mktemp("app")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_HOME", str(folder / "home"))
        yield folder


@pytest.fixture(scope="module")
def corpus(kit: Path, place: Path) -> CheckedCorpus:  # noqa: ARG001 - its clips lie there
    return check_audio(cast("Dataset", discover((kit,)).get("datasets", "tones").plugin.create({})).load())


@pytest.fixture(scope="module")
def bundle(corpus: CheckedCorpus, kit: Path) -> Bundle:
    registry = discover((kit,))
    return fit_bundle(corpus, make_pipeline(registry, "crossings", "nearest_mean", {}), registry, seed=0)


@pytest.fixture(scope="module")
def folder(bundle: Bundle, corpus: CheckedCorpus, place: Path) -> Path:
    write_bundle(bundle, place / "bundle", golden_samples(corpus))
    return place / "bundle"


@pytest.fixture(scope="module")
def clips(corpus: CheckedCorpus) -> dict[str, Path]:
    """A clip of each class."""
    return {clip.label: clip.path for clip in corpus.clips}


@pytest.fixture(scope="module")
def clip(clips: dict[str, Path]) -> Path:
    """A clip of class `high`."""
    return clips["high"]


class Browser:
    """Chromium, whose microphone hears a file over and over."""

    def __init__(self, profile: Path, sound: Path, stack: ExitStack) -> None:
        assert CHROMIUM is not None
        hears = f"--use-file-for-fake-audio-capture={sound}"
        command = [CHROMIUM, *QUIET, *MICROPHONE, hears, f"--user-data-dir={profile}", "about:blank"]
        self.stack = stack
        self.process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
        stack.callback(self.process.kill)
        assert self.process.stderr is not None
        told = next(line for line in self.process.stderr if "DevTools listening on" in line)
        self.port = re.findall(r":(\d+)/", told)[0]

    def visit(self, address: str) -> "Tab":
        """A tab of its own on that address."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new?{address}", method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own browser
            return Tab(json.load(answer)["webSocketDebuggerUrl"], self.stack)


class Tab:
    """A page, told what to do over the debugging port."""

    def __init__(self, debugger: str, stack: ExitStack) -> None:
        from websockets.sync.client import connect

        self.socket = stack.enter_context(connect(debugger, max_size=None))
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
        """Of the page's text or of its style."""
        refusal = "getComputedStyle(document.querySelector('.stFileUploader'), '::after').content"
        self.wait_for(f"(document.body.innerText + {refusal}).includes({json.dumps(words)})")

    def wait_for_answer(self, label: str) -> None:
        self.wait_for(f"document.querySelector('.answer strong')?.innerText === {json.dumps(label)}")

    def click(self, selector: str) -> None:
        self.wait_for(f"document.querySelector({json.dumps(selector)}) !== null")
        at = (
            "(({x, y, width, height}) => ({x: x + width / 2, y: y + height / 2}))"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            place = self.ask(at)
            self.tell("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def upload(self, path: Path) -> None:
        self.wait_for("document.querySelector('input[type=file]') !== null")
        root = self.tell("DOM.getDocument")["root"]["nodeId"]
        node = self.tell("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.tell("DOM.setFileInputFiles", nodeId=node, files=[str(path.absolute())])


@pytest.fixture(scope="module")
def browser(place: Path, clip: Path) -> Iterator[Browser]:
    """Shared by the tests of a module; its microphone hears `clip`."""
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with ExitStack() as stack:
        yield Browser(place / "chromium", clip, stack)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Served(NamedTuple):
    """A page and the process of `bench app`."""

    address: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
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
