"""Worker processes on this machine, each of which runs one task at a time, and what it has room for.

`LocalPool` is the executor over them; a Dask worker calls `run_isolated` itself. A process is kept for the
next task of the same driver, since starting one and importing its libraries takes seconds. Whatever a task
does to its process, no other task is in it.
"""

import math
import os
import pickle
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import psutil

from marsbench.errors import ConfigError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Listener, Outcome, Task
from marsbench.execution.worker import Limits, WorkerDied, WorkerProcess

_TRIES = 2
"""A task whose worker process died is tried once more: something else may have killed the process."""
_SHARE_OF_MEMORY = 0.9
"""Part of the machine's memory that its worker processes may take together."""


_CGROUPS = Path("/sys/fs/cgroup")
_MEMORY_FILES = (
    "memory.max",
    "memory.high",
    "memory/memory.limit_in_bytes",
    "memory/memory.soft_limit_in_bytes",
)
_QUOTA_FILES = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


@dataclass(frozen=True)
class Isolation:
    """How worker processes are started and limited."""

    session: str
    """Id of the driver: a process that has imported the plugins of one driver serves no other."""
    threads: int
    limits: Limits

    def shared_by(self, n_processes: int) -> Self:
        """With an even share of this machine's memory as the limit, where the user set none."""
        if self.limits.memory is not None:
            return self
        share = int(_SHARE_OF_MEMORY * memory_limit() / n_processes)
        return replace(self, limits=replace(self.limits, memory=share))


class LocalPool:
    """The executor over worker processes of this machine; whichever thread submits a task drives one."""

    runs_in_caller = False

    def __init__(self, workers: int, threads: int, limits: Limits) -> None:
        self.slots = workers
        self._isolation = Isolation(uuid.uuid4().hex, threads, limits).shared_by(workers)
        self._free = threading.BoundedSemaphore(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close_session(self._isolation.session)

    def submit(self, task: Task, listener: Listener) -> Outcome:
        """Run the task in an idle process or a new one, once one of the slots is free."""
        started, on_epoch = partial(listener.started, task), partial(listener.epoch, task)
        with self._free:
            return run_isolated(pickle.dumps(task.work), self._isolation, started, on_epoch)

    def sees(self, path: Path) -> bool:
        """Whether the file exists."""
        return path.exists()

    def provide(self, files: Iterable[Path]) -> None:
        """Nothing: the files are here."""


def run_isolated(
    payload: bytes, isolation: Isolation, started: Callable[[], None], on_epoch: Callable[[int, int], None]
) -> Outcome:
    """Outcome of a pickled `Work`.

    Raises:
        ConfigError: a value that the user set was refused.
    """
    logs: list[str] = []
    deaths: list[str] = []
    while len(deaths) < _TRIES and (process := _processes.take(isolation)):
        started()
        try:
            value = process.run(payload, isolation.limits, on_epoch)
        except WorkerDied as death:
            deaths.append(str(death))
        except ConfigError:
            raise
        except BaseException:
            process.kill()  # it is still at work, and its answer would be taken for the next task's
            raise
        else:
            logs.append(process.take_log())
            return Outcome(value, "".join(logs))
        finally:
            if not process.alive:
                logs.append(process.take_log())
            _processes.give_back(isolation.session, process)
    return Outcome(Failure(kind="WorkerDied", message=_story(deaths)), "".join(logs))


def close_session(session: str) -> None:
    """Kill the worker processes of a driver, busy or idle; it cannot start further ones."""
    _processes.close(session)


def _story(deaths: list[str]) -> str:
    if not deaths:
        return "the run was stopped"
    return f"{deaths[0]}, twice" if len(set(deaths)) < len(deaths) else "; tried again, ".join(deaths)


@dataclass
class _Processes:
    """The worker processes that belong to this process, by session."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    idle: dict[str, list[WorkerProcess]] = field(default_factory=lambda: defaultdict(list))
    busy: dict[str, list[WorkerProcess]] = field(default_factory=lambda: defaultdict(list))
    closed: set[str] = field(default_factory=set)

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
            process = there.pop() if there else WorkerProcess(isolation.threads)
            self.idle[session] = there
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


def n_cores() -> int:
    """Number of cores: those that this process is bound to, at most the quota of its control group."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    quota = _core_quota()
    return min(count, math.ceil(quota)) if quota else count


def memory_limit() -> int:
    """Bytes of memory: what the machine has, at most what its control group and the shell's limits allow."""
    limits = [psutil.virtual_memory().total, *_numbers(_MEMORY_FILES)]
    with suppress(ImportError, OSError):  # not on Windows
        import resource

        limits.append(resource.getrlimit(resource.RLIMIT_RSS)[1])
    return min(limit for limit in limits if limit > 0)


def _core_quota() -> float | None:
    """Cores' worth of time that the control group grants, versions 2 and 1; None for no limit."""
    with suppress(OSError, ValueError):
        own = Path("/proc/self/cgroup").read_text("utf-8").strip().rpartition(":")[2]
        quota, period = (_CGROUPS / own.lstrip("/") / "cpu.max").read_text("utf-8").split()
        return int(quota) / int(period)
    numbers = _numbers(_QUOTA_FILES)
    return numbers[0] / numbers[1] if len(numbers) == len(_QUOTA_FILES) and numbers[0] > 0 else None


def _numbers(names: tuple[str, ...]) -> list[int]:
    """Contents of those files below the control groups that hold a number."""
    found: list[int] = []
    for name in names:
        with suppress(OSError, ValueError):  # no such group; "max" for no limit
            found.append(int((_CGROUPS / name).read_text("utf-8")))
    return found
