"""Worker processes on this machine, each of which runs one task at a time.

`LocalPool` is the executor over them; a Dask worker calls `run_isolated` itself. A process is kept for the
next task of the same driver, since starting one and importing its libraries takes seconds. Whatever a task
does to its process, no other task is in it.
"""

import pickle
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

from marsbench.errors import ConfigError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Listener, Outcome, Task
from marsbench.execution.limits import Limits, even_share
from marsbench.execution.worker import WorkerDied, WorkerProcess

_TRIES = 2
"""A task whose worker process died is tried once more: something else may have killed the process."""


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
        return replace(self, limits=replace(self.limits, memory=even_share(n_processes)))


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
