"""Work that reaches worker processes, clusters as users start them, and nothing left of either."""

import importlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

KIT = Path(__file__).parents[2] / "kit"
DASK = Path(sys.executable).with_name("dask")


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left() -> Iterator[None]:
    """Every process that tests started must have ended with them."""
    before = set(psutil.Process().children(recursive=True))
    yield
    wait_until_gone(set(psutil.Process().children(recursive=True)) - before)


@pytest.fixture(scope="module")
def works() -> Iterator[Any]:
    """The module kit/works.py, importable here and in every process that is started from here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(KIT)
        patch.setenv("PYTHONPATH", str(KIT), prepend=os.pathsep)
        yield importlib.import_module("works")


@pytest.fixture(scope="session")
def gone() -> Any:
    """Wait until processes have ended."""
    return wait_until_gone


def wait_until_gone(processes: Iterable[psutil.Process]) -> None:
    """Fail if one lives on; a dead one that nobody has asked after counts as gone."""
    end = time.monotonic() + 10
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            while process.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < end, process
                time.sleep(0.01)


class Cluster:
    """A scheduler and workers, each with one thread; no nannies, which would start again what tests kill."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self.scheduler, log = self._start("Scheduler at: ", "scheduler", "--port", "0")
        self.address = _match(r"Scheduler at: +(\S+)", log)

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """A worker that is registered."""
        words = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self._folder))
        worker, log = self._start("Registered to", "worker", self.address, *words, **environment)
        self.worker_address = _match(r"Start worker at: +(\S+)", log)
        return worker

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a scheduler or a worker by SIGKILL; worker processes must then end by themselves."""
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        wait_until_gone(children)

    def close(self) -> None:
        for process in self._started:
            process.kill()
        for process in self._started:
            process.wait()

    def _start(self, ready: str, *words: str, **environment: str) -> tuple[subprocess.Popen[bytes], str]:
        """A process, and its log once it says that it is ready."""
        command = [str(DASK), *words, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        log = self._folder / f"{len(self._started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=dict(os.environ) | environment)
        self._started.append(process)
        end = time.monotonic() + 30
        while not re.search(f"{ready}.*\n", log.read_text()):
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        return process, log.read_text()


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found
    return found[1]


@pytest.fixture
def cluster(tmp_path: Path, works: Any) -> Iterator[Cluster]:  # noqa: ARG001 - for its environment
    """A scheduler without workers."""
    with closing(Cluster(tmp_path / "cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def busy_cluster(
    tmp_path_factory: pytest.TempPathFactory,
    works: Any,  # noqa: ARG001 - for its environment
) -> Iterator[Cluster]:
    """A scheduler with two workers that test after test uses."""
    with closing(Cluster(tmp_path_factory.mktemp("busy") / "cluster")) as cluster:
        cluster.start_worker()
        cluster.start_worker()
        yield cluster
