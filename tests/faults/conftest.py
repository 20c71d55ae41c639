"""`bench` as processes that can be killed, and what must hold afterwards."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

_HERE = Path(__file__).parent
_PATIENCE = 60.0
"""Seconds after which something hangs."""


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for the condition."""
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


class Forks:
    """The process that `bench` is forked from; see `forks.py`."""

    def __init__(self) -> None:
        environment = dict(os.environ) | {"COLUMNS": "200"}
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, _HERE / "forks.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert json.loads(self._pipes[1].readline()) == "ready"

    @property
    def _pipes(self) -> Any:
        return self._process.stdin, self._process.stdout

    def ask(self, **request: Any) -> Any:
        """Send a request; gives the answer."""
        there, back = self._pipes
        with self._lock:
            there.write(json.dumps(request) + "\n")
            there.flush()
            return json.loads(back.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@dataclass(repr=False)
class Bench:
    """A `bench` under way."""

    command: str
    pid: int
    output: Path
    ask: Callable[[], int | None]
    ended: int | None = None

    @property
    def text(self) -> str:
        """What it has printed by now."""
        return self.output.read_text()

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self.ended is None:
            self.ended = self.ask()
        return self.ended

    @property
    def code(self) -> int:
        """Its exit code, waited for."""
        end = time.monotonic() + _PATIENCE
        while (code := self.poll()) is None:
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        """SIGKILL; the process is gone when this returns."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.code == -signal.SIGKILL

    def await_text(self, text: str) -> None:
        """Wait until it has printed that."""
        until(lambda: text in self.text, f"{text!r} in {self.text}")

    def press_ctrl_c(self) -> None:
        """What a terminal sends to all of the foreground group."""
        os.killpg(self.pid, signal.SIGINT)

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """What happens to it while a laptop sleeps; it may be killed meanwhile."""
        os.killpg(self.pid, signal.SIGSTOP)
        yield
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGCONT)


@dataclass(repr=False)
class Place:
    """A user's working directory, with a cache of features and a ledger of its own."""

    folder: Path
    forks: Forks
    kit: Path
    begun: list[Bench] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        return {"MARSBENCH_HOME": str(self.home), "KIT_LEDGER": str(self.ledger)}

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def ledger(self) -> Path:
        """A line for each fit of `slow_mean` and each clip of `slow_crossings`."""
        return self.folder / "ledger"

    def start(self, command: str, sabotage: tuple[Any, ...] = ()) -> Bench:
        """Begin a command, "run --features ...", in a fork."""
        output = self._new_output()
        request = {"words": self._words(command), "folder": str(self.folder), "output": str(output)}
        pid = self.forks.ask(**request, environment=self.environment, sabotage=sabotage)
        return self._begun(Bench(command, pid, output, lambda: self.forks.ask(pid=pid)))

    def start_for_real(self, command: str) -> Bench:
        """Begin the installed command as a shell would."""
        output = self._new_output()
        with output.open("w") as file:
            process = subprocess.Popen(
                [str(Path(sys.executable).with_name("bench")), *self._words(command)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=dict(os.environ) | {"COLUMNS": "200"} | self.environment,
                start_new_session=True,
            )
        return self._begun(Bench(command, process.pid, output, process.poll))

    def run(self, command: str, sabotage: tuple[Any, ...] = ()) -> Bench:
        """A command that has ended."""
        bench = self.start(command, sabotage)
        assert bench.code is not None
        return bench

    def _words(self, command: str) -> list[str]:
        plugins = ["--plugins", str(self.kit)] if command.startswith("run ") else []
        return [*command.split(), *plugins]

    def _new_output(self) -> Path:
        output = self.folder / f"output-{len(self.begun)}"
        output.touch()
        return output

    def _begun(self, bench: Bench) -> Bench:
        self.begun.append(bench)
        return bench

    @property
    def notes(self) -> Counter[str]:
        """How often each fit was begun and each clip extracted."""
        return Counter(self.ledger.read_text().splitlines() if self.ledger.exists() else ())

    @property
    def n_fits(self) -> int:
        return sum(count for note, count in self.notes.items() if note.startswith("fit"))

    @property
    def n_extracted(self) -> int:
        return self.notes.total() - self.n_fits

    def units(self) -> dict[str, tuple[bytes, int]]:
        """Content and time of every finished unit by its path."""
        paths = [path for path in self.results.rglob("fold-*.json") if ".failed" not in path.name]
        return {
            str(path.relative_to(self.results)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in paths
        }

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def predictions(self) -> dict[str, bytes]:
        """Files of predictions by features, model and seed."""
        paths = self.results.rglob("predictions.parquet")
        return {path.parent.name.rpartition("-")[0]: path.read_bytes() for path in paths}

    def has_features(self, extractor: str) -> bool:
        """Whether a file of the store holds some of them."""
        return any(self.home.glob(f"features/{extractor}-*/*.json"))

    def workers(self) -> list[psutil.Process]:
        """Worker processes that belong here and live."""
        return [process for process in psutil.process_iter() if self._is_worker(process)]

    def _is_worker(self, process: psutil.Process) -> bool:
        try:
            mine = process.environ().get("MARSBENCH_HOME") == str(self.home)
            return mine and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def await_notes(self, number: int) -> None:
        """Wait until the ledger has so many different lines."""
        last = self.begun[-1]
        until(lambda: len(self.notes) >= number or last.poll() is not None, f"note {number} of {self.notes}")
        assert len(self.notes) >= number, last.text

    def await_file(self, name: str) -> None:
        """Wait until there is such a file."""
        until((self.folder / name).exists, name)

    def assert_tidy(self) -> None:
        """Nothing half-written was read, no process is left behind, nothing looks under way."""
        assert not [*self.folder.rglob("*.damaged"), *self.folder.rglob("*.running")]
        self.await_quiet()

    def await_quiet(self) -> None:
        """Wait until no worker process lives."""
        until(lambda: not self.workers(), "the end of the worker processes")


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What `bench` is forked from."""
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def new_place(forks: Forks, kit: Path) -> Iterator[Callable[[Path], Place]]:
    """Make a working directory in a folder; whatever still runs in it at the end is killed."""
    made: list[Place] = []

    def make(folder: Path) -> Place:
        made.append(Place(folder, forks, kit))
        return made[-1]

    yield make
    for place in made:
        for process in place.workers():
            process.kill()


@pytest.fixture(scope="session")
def undisturbed(
    new_place: Callable[[Path], Place], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Place]:
    """A place where a command has run without trouble; made once for each command."""

    @cache
    def make(command: str) -> Place:
        place = new_place(tmp_path_factory.mktemp("undisturbed"))
        assert place.run(command).code == 0, place.begun[0].text
        return place

    return make


@pytest.fixture
def place(new_place: Callable[[Path], Place], tmp_path: Path) -> Callable[..., Place]:
    """Make a working directory of some name."""
    return lambda name="place": new_place(tmp_path / name)
