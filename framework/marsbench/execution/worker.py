"""Worker processes, each of which does one task at a time, as their parent sees them.

`run_isolated` does a task in one, for the executor over this machine's processes and for Dask workers. A
worker process serves the tasks of one driver, since starting one and importing its libraries takes seconds;
the process that does a task ends with it (`worker_main`), except for tasks that are kept under a name.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import psutil

from marsbench.errors import ConfigError, StorageError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Called, Outcome, Task
from marsbench.execution.limits import Limits, environment_for, even_share
from marsbench.execution.worker_main import Request, can_fork

_TICK = 0.05
"""Seconds between two checks of the limits."""
_GRACE = 2.0
"""Seconds that a process may take to end after it closed its pipe, or to log its stack traces."""
_LOG_KEPT = 64 << 10
"""Bytes kept of the beginning and of the end of what a task prints."""
_LOG_ON_DISK = 16 << 20
_CUT_OFF = (
    "a worker process was killed by SIGBUS: stored features or another mapped file are cut off, or the disk "
    "has no room for one; free some space, then run the same command again"
)
_TRIES = 2
"""A task whose worker process died is tried once more: something else may have killed the process."""


@dataclass(frozen=True)
class Isolation:
    """How worker processes are started and limited."""

    session: str
    """Id of the driver: a process that has imported the plugins of one driver serves no other."""
    threads: int
    limits: Limits
    kept: str = ""
    """`Task.kept`."""
    plugin: Called | None = None
    """`Task.plugin`."""

    def of(self, task: Task, longest: float | None = None) -> Self:
        """For one task, with `Executor.longest` as its limit of time unless that is None."""
        limits = self.limits if longest is None else replace(self.limits, seconds=longest)
        return replace(self, limits=limits, kept=task.kept, plugin=task.plugin)

    def shared_by(self, n_processes: int) -> Self:
        """With an even share of this machine's memory as the limit, where the user set none."""
        if self.limits.memory is not None:
            return self
        return replace(self, limits=replace(self.limits, memory=even_share(n_processes)))


def run_isolated(
    payload: bytes, isolation: Isolation, started: Callable[[], None], on_epoch: Callable[[int, int], None]
) -> Outcome:
    """Outcome of a pickled `Work`; `started` is called each time that a process begins it.

    Raises:
        ConfigError: a value that the user set was refused.
        StorageError: the machine is at fault.
    """
    logs: list[str] = []
    deaths: list[str] = []
    while len(deaths) < _TRIES and (process := _processes.take(isolation)):
        started()
        try:
            value = process.run(payload, isolation, on_epoch)
        except WorkerDied as death:
            deaths.append(str(death))
        except (ConfigError, StorageError):
            raise
        except BaseException:
            process.kill()  # it is still at work, and its answer would be taken for the next task's
            raise
        else:
            logs.append(process.log.take())
            return Outcome(value, "".join(logs))
        finally:
            if not process.alive:
                logs.append(process.log.take())
            _processes.give_back(isolation.session, process)
    return Outcome(Failure(kind="WorkerDied", message=_story(deaths)), "".join(logs))


def start_processes(count: int, isolation: Isolation) -> None:
    """Start processes that import what the plugin of `isolation` needs, for tasks to come."""
    processes = [_processes.take(isolation) for _ in range(count)]
    for process in filter(None, processes):
        with contextlib.suppress(WorkerDied):  # the first task will tell
            process.prepare(isolation.plugin)
        _processes.give_back(isolation.session, process)


def _story(deaths: list[str]) -> str:
    if not deaths:
        return "the run was stopped"
    return f"{deaths[0]}, twice" if len(set(deaths)) < len(deaths) else "; tried again, ".join(deaths)


def close_session(session: str) -> None:
    """Kill the worker processes of a driver, busy or idle; it cannot start further ones."""
    _processes.close(session)


class WorkerDied(Exception):  # noqa: N818 - the name describes the event
    """The process ended before it answered; the message says how."""


class WorkerProcess:
    """One process that does one task at a time."""

    kept = ""
    """Name of the last task, by `Task.kept`."""

    def __init__(self, threads: int) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="marsbench-", ignore_cleanup_errors=True)
        """Its log, and the temporary files of its tasks: those of one that is killed are left there."""
        self.log = _Log(Path(self._files.name))
        """What was printed since it was last taken."""
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._process = subprocess.Popen(  # noqa: S603 - a command of ours
            [sys.executable, "-m", "marsbench.execution.worker_main", self._files.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.file,
            env=environment_for(threads) | {"TMPDIR": self._files.name},
            start_new_session=True,  # Ctrl-C in the terminal is for the driver
        )
        assert self._process.stdin is not None  # noqa: S101 - pipes, as asked for above
        assert self._process.stdout is not None  # noqa: S101
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._server = self._usage = psutil.Process(self._process.pid)
        """The process, and the copy of it that does the task."""
        self._libraries: list[str] = []
        """What the process should import before the next task."""
        self._is_preparing = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def run(self, payload: bytes, isolation: Isolation, on_epoch: Callable[[int, int], None]) -> Any:
        """Value of the pickled work, or a Failure: of the work itself, or of a limit that it exceeded.

        Raises:
            ConfigError: a value that the user set was refused.
            StorageError: the machine is at fault.
            WorkerDied: the process is gone.
        """
        limits = isolation.limits
        self._await_prepared()
        deadline = time.monotonic() + (limits.seconds or float("inf"))
        self._send(Request(payload, isolation.kept, isolation.plugin, self._libraries))
        self.kept, self._libraries, answer = isolation.kept, [], None
        while True:
            if exceeded := self._exceeded(limits, deadline):
                self.kill()
                return exceeded
            kind, value = self._next_answer()
            if kind == "begun":
                with contextlib.suppress(psutil.Error):  # it has ended already
                    self._usage = psutil.Process(value)
            elif kind == "epoch":
                on_epoch(*value)
            elif kind in {"done", "refused"}:
                answer = kind, value
            elif kind in {"ended", "died"}:
                return self._value(answer, kind == "ended")

    def prepare(self, plugin: Called | None) -> None:
        """Let it import what a plugin needs; raises WorkerDied if it is gone."""
        if can_fork():  # else what it imports may be another task's
            self._send(Request(b"", "", plugin, []))
            self._is_preparing = True

    def _await_prepared(self) -> None:
        """Wait for its imports: it would read a request that comes meanwhile too early, and not see it."""
        while self._is_preparing:
            kind, _ = self._next_answer()
            if kind == "died":
                raise WorkerDied(self._how_it_ended())
            self._is_preparing = kind != "prepared"

    def _value(self, answer: tuple[str, Any] | None, lives_on: bool) -> Any:
        """What the task answered before it ended."""
        if answer is None:
            raise WorkerDied(self._how_it_ended())
        self._usage = self._server
        if not lives_on:
            self.kill()
        kind, value = answer
        if kind == "refused":
            raise value
        result, self._libraries = value
        return result if isinstance(result, Failure) else pickle.loads(result)  # noqa: S301 - as in `_listen`

    @property
    def alive(self) -> bool:
        """Whether it can do another task."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process and those that it started, at once."""
        processes = [self._server]
        with contextlib.suppress(psutil.Error):
            processes += self._server.children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._process.returncode is None:  # else its number may be another's by now
            self._kill_group()
        self._process.wait()

    def close(self) -> None:
        """End the process and those that it started, and forget what was printed."""
        self.kill()
        with contextlib.suppress(OSError):  # an unsent request cannot be flushed any more
            self._requests.close()
        self._listener.join(_GRACE)  # it closes its pipe, unless a process outside the group holds that open
        self.log.close()
        self._files.cleanup()

    def _send(self, request: Request) -> None:
        try:
            pickle.dump(tuple(request), self._requests)
            self._requests.flush()
        except OSError as error:
            raise WorkerDied(self._how_it_ended()) from error

    def _listen(self) -> None:
        with self._replies:
            while True:
                try:
                    self._answers.put(pickle.load(self._replies))  # noqa: S301 - from the process started above alone
                except Exception:  # noqa: BLE001 - its end, or rubbish, which may raise anything
                    self._answers.put(("died", None))
                    return

    def _next_answer(self) -> tuple[str, Any]:
        try:
            return self._answers.get(timeout=_TICK)
        except queue.Empty:  # a copy that the process made of itself may hold its pipe open
            return ("none" if self.alive else "died"), None

    def _exceeded(self, limits: Limits, deadline: float) -> Failure | None:
        """The failure of a task that takes more than it may; the log says where it is."""
        self.log.trim()
        if time.monotonic() > deadline:
            self._tell_where_it_is()
            return Failure(kind="TimeLimit", message=f"stopped at its time limit of {limits.seconds:g} s")
        with contextlib.suppress(psutil.Error):
            usage = self._usage.memory_info()
            # Pages of files that it maps, the features', are the system's to take back.
            used = usage.rss - getattr(usage, "shared", 0)
            if limits.memory is not None and used > limits.memory:
                sizes = f"{used / 1e9:.2f} GB, the limit is {limits.memory / 1e9:.2f} GB"
                return Failure(kind="MemoryLimit", message=f"stopped because it took {sizes}")
        return None

    def _tell_where_it_is(self) -> None:
        """Let it write the Python lines of all its threads into the log."""
        if hasattr(signal, "SIGUSR1"):
            before = self.log.size
            with contextlib.suppress(psutil.Error):
                self._usage.send_signal(signal.SIGUSR1)
            end = time.monotonic() + _GRACE
            time.sleep(_TICK)
            while self.log.size == before and time.monotonic() < end:
                time.sleep(_TICK)

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.kill()
            return "the worker process closed its pipe"
        self._kill_group()
        if code >= 0:
            return f"the worker process ended itself with exit status {code}"
        name = {entry.value: entry.name for entry in signal.Signals}.get(-code, f"signal {-code}")
        if name == "SIGBUS":  # what a mapped file has, or gets no room for, is no plugin's matter
            raise StorageError(_CUT_OFF)
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the worker process was killed by {name}{hint}"

    def _kill_group(self) -> None:
        """End what the process started and left, if it did not leave the group."""
        for leader in {self._server.pid, self._usage.pid} if hasattr(os, "killpg") else ():
            with contextlib.suppress(OSError):
                os.killpg(leader, signal.SIGKILL)


class _Log:
    """What a process prints: its beginning and its end, however much there is between."""

    def __init__(self, folder: Path) -> None:
        path = folder / "marsbench.log"
        self.file = path.open("ab", buffering=0)
        """For the process: it appends, so it goes on at the new end when the file is cut."""
        self._reader = path.open("rb", buffering=0)
        self._head: bytes | None = None
        self._tail = b""
        """End of the text that was cut off, for the case that the process prints no more."""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return os.fstat(self._reader.fileno()).st_size

    def trim(self) -> None:
        """Keep the beginning and the end and let the rest go once it is large."""
        if (size := self.size) > _LOG_ON_DISK:
            if self._head is None:
                self._head = self._read(0)
            self._tail = self._read(size - _LOG_KEPT)
            self.file.truncate(0)

    def take(self) -> str:
        """The text so far; the next call begins after it."""
        size = self.size
        head, begun = (self._read(0), _LOG_KEPT) if self._head is None else (self._head, 0)
        cut = self._head is not None or size > 2 * _LOG_KEPT
        tail = (self._tail + self._read(max(size - _LOG_KEPT, begun)))[-_LOG_KEPT:]
        self._head, self._tail = None, b""
        self.file.truncate(0)
        return (head + (b"\n[...]\n" if cut else b"") + tail).decode(errors="replace")

    def close(self) -> None:
        self.file.close()
        self._reader.close()

    def _read(self, start: int) -> bytes:
        self._reader.seek(start)
        return self._reader.read(_LOG_KEPT)


class _Processes:
    """The worker processes that belong to this process, by session."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.idle = defaultdict[str, list[WorkerProcess]](list)
        self.busy = defaultdict[str, list[WorkerProcess]](list)
        self.closed = set[str]()

    def take(self, isolation: Isolation) -> WorkerProcess | None:
        """An idle process or a new one; None if the session is closed."""
        session = isolation.session
        with self.lock:
            if session in self.closed:
                return None
            forgotten = [process for name in self.idle.keys() - {session} for process in self.idle.pop(name)]
            idle = self.idle[session]
            forgotten += [process for process in idle if not process.alive]
            there = [process for process in idle if process not in forgotten]
            able = [process for process in there if can_fork() or process.kept == isolation.kept]
            # The one that has done such a task last, if there is one.
            able.sort(key=lambda process: process.kept == isolation.kept)
            process = able[-1] if able else WorkerProcess(isolation.threads)
            self.idle[session] = [other for other in there if other is not process]
            self.busy[session].append(process)
        for other in forgotten:
            other.close()
        return process

    def give_back(self, session: str, process: WorkerProcess) -> None:
        """Keep the process for the next task if it can do one."""
        with self.lock:
            self.busy[session].remove(process)
            if keep := process.alive and session not in self.closed:
                self.idle[session].append(process)
        if not keep:
            process.close()

    def close(self, session: str) -> None:
        with self.lock:
            self.closed.add(session)
            idle, busy = self.idle.pop(session, []), list(self.busy[session])
        for process in busy:
            process.kill()
        for process in idle:
            process.close()


_processes = _Processes()
