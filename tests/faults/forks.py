"""Starts `bench` without the seconds that its imports take, as a fork of a process that has imported them.

A program: it reads a JSON request a line on standard input and answers each with a line of JSON.

    {"words", "folder", "output", "environment", "sabotage"}   starts `bench` there; answers the process id
    {"pid"}   answers the exit code, negative if a signal ended it, null while it runs

`sabotage` is the name of a function of this file and its arguments, called before `bench` begins.
"""

import faulthandler
import gc
import json
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from itertools import chain, count
from pathlib import Path
from typing import Any

from marsbench.cli import main as cli
from marsbench.cli import start
from marsbench.execution import worker
from marsbench.results import plots

KIT = Path(__file__).parents[1] / "kit" / "plugins"


def serve() -> None:
    """Answer requests until the input ends; a fork leaves by the exception that ends `bench`."""
    warm_up()
    plots.plot_history = lambda *_: None  # a picture that takes longer than a study of fakes
    gc.freeze()  # a fork need not look at, and so copy, all that was imported
    reply("ready")
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif not (answer := os.fork()):
            become_bench(**request)
        reply(answer)


def reply(answer: object) -> None:
    """Write a line."""
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def warm_up() -> None:
    """Import what a run imports, by a run in this process: it leaves no thread behind."""
    words = ["run", "--features", "crossings,slow_crossings", "--model", "nearest_mean,slow_mean"]
    words += ["--data", "tones", "--plugins", str(KIT), "--protocol", "holdout80", "--workers", "0"]
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as null:
        os.environ["MARSBENCH_HOME"] = folder
        with redirect_stdout(null), redirect_stderr(null):
            cli.app([*words, "--results", f"{folder}/results"], standalone_mode=False)


def become_bench(
    words: list[str], folder: str, output: str, environment: dict[str, str], sabotage: list[Any]
) -> None:
    """In the fork: a process group of its own, as a shell gives it, then the command."""
    os.setsid()
    faulthandler.register(signal.SIGUSR2)  # asked for by a test that waits in vain
    os.chdir(folder)
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if sabotage:
        globals()[sabotage[0]](*sabotage[1:])
    sys.argv = ["bench", *words]
    start()


def limit_file_size(size: int) -> None:
    """No file grows larger: what a full disk is to a small process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def die_at_rename(number: int) -> None:
    """End as SIGKILL does when the `number`-th file that is no audio is written and has not got its name."""
    rename = Path.replace
    numbers = count(1)

    def dies(path: Path, target: Path) -> Path:
        if target.suffix != ".wav" and next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)

    Path.replace = dies  # type: ignore[assignment, method-assign]


def die_in_request() -> None:
    """End as SIGKILL does when half of what a worker process is asked for is in its pipe."""

    def dies(process: Any, payload: bytes) -> None:
        request = pickle.dumps(payload)
        process._process.stdin.write(request[: len(request) // 2])
        process._process.stdin.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    worker.WorkerProcess._send = dies  # type: ignore[assignment, method-assign]


def kill_workers(kills: int, seed: int, log: str) -> None:
    """Kill so many worker processes at random moments, none while it does what one died of before."""
    Killer(random.Random(seed), kills, Path(log)).start()  # noqa: S311 - no secret


class Killer(threading.Thread):
    """Knows what each worker process is at, by standing between the driver and its questions to them.

    Whoever is struck is dead before anything else happens: a dying process would pass for one that can do
    more, and take a task with it that was struck before.
    """

    def __init__(self, chance: random.Random, kills: int, log: Path) -> None:
        super().__init__(daemon=True)
        self.chance, self.kills, self.log = chance, kills, log
        self.lock = threading.Lock()
        self.at_work: dict[Any, bytes] = {}
        self.struck: set[bytes] = set()
        self._watch()

    def _watch(self) -> None:
        kind, do = worker.WorkerProcess, worker.WorkerProcess.run

        def watched(process: Any, payload: bytes, limits: Any, on_epoch: Callable[[int, int], None]) -> Any:
            with self.lock:
                self.at_work[process] = payload
            try:
                return do(process, payload, limits, on_epoch)
            finally:
                with self.lock:
                    del self.at_work[process]

        kind.run = watched  # type: ignore[assignment, method-assign]

    def run(self) -> None:
        for _ in range(self.kills):
            wants_busy = self.chance.random() < 0.8
            time.sleep(self.chance.uniform(0, 0.1))
            for attempt in count():
                if work := self._strike_busy() if wants_busy or attempt > 10 else self._strike_idle():
                    break
                time.sleep(0.005)
            with self.log.open("a") as file:
                file.write(f"{work}\n")

    def _strike_busy(self) -> str | None:
        """Kill a process at work that none died of; gives what it was at, or None if there is none."""
        with self.lock:
            there = [process for process, work in self.at_work.items() if work not in self.struck]
            if not (process := self._kill_one_of(there)):
                return None
            self.struck.add(work := self.at_work[process])
        return name_of(work)

    def _strike_idle(self) -> str | None:
        """Kill a process that nobody has taken; gives "nothing", or None if there is none."""
        processes = worker._processes
        with processes.lock:
            return "nothing" if self._kill_one_of(chain(*processes.idle.values())) else None

    def _kill_one_of(self, processes: Iterable[Any]) -> Any:
        there = [process for process in processes if process.alive]
        if not there:
            return None
        process = self.chance.choice(there)
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
        return process


def name_of(payload: bytes) -> str:
    """What a worker process is asked to do, in two words or three."""
    work = pickle.loads(payload)  # noqa: S301 - the driver's own
    asked = getattr(work, "args", [work])[0]
    if hasattr(asked, "fold"):
        return f"unit {asked.model.name} {asked.fold}"
    return f"extraction {asked.recipe.name}"


if __name__ == "__main__":
    serve()
