"""From settings to an executor."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from marsbench.config import Execution
from marsbench.errors import ConfigError
from marsbench.execution.base import Executor, Listener, Outcome, Task, attempt
from marsbench.execution.threads import limited_threads
from marsbench.execution.worker import Limits

WORKERS_VARIABLE = "MARSBENCH_WORKERS"
_MEMORY_A_WORKER = 2e9
"""Bytes that should be there for each worker: TensorFlow and its data take about half of it."""


def open_executor(asked: Execution) -> Executor:
    """The executor that was asked for; it starts when its context is entered.

    Raises:
        ConfigError: settings that exclude each other.
    """
    limits = Limits(asked.unit_timeout, asked.unit_memory)
    if asked.cluster is None and (workers := n_workers(asked)) == 0:
        if limits != Limits():
            raise ConfigError("a unit in this process has no limits; use --workers 1 with them")
        return InProcess(asked.threads)
    from marsbench.execution.dask_cluster import local_executor, remote_executor

    if asked.cluster is not None:
        if asked.workers is not None:
            raise ConfigError("--workers and --cluster exclude each other: a cluster has its own workers")
        return remote_executor(asked.cluster, asked.threads, limits)
    return local_executor(workers, asked.threads, limits)


def n_workers(asked: Execution) -> int:
    """Workers on this machine: as asked, else `MARSBENCH_WORKERS`, else what cores and memory allow.

    Raises:
        ConfigError: the variable holds no whole number.
    """
    if asked.workers is not None:
        return asked.workers
    if given := os.environ.get(WORKERS_VARIABLE):
        if not given.isdecimal():
            raise ConfigError(f"{WORKERS_VARIABLE}={given}: a whole number is needed")
        return int(given)
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return int(max(1, min(CPU_COUNT // asked.threads, MEMORY_LIMIT // _MEMORY_A_WORKER)))


class InProcess:
    """No isolation: a task that ends the process ends the run, and what it prints goes to the terminal."""

    slots = 1

    def __init__(self, threads: int) -> None:
        self._threads: AbstractContextManager[None] = limited_threads(threads)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._threads)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def run(
        self, tasks: Iterable[Task], listener: Listener, stop: Callable[[], bool]
    ) -> Iterator[tuple[Task, Outcome]]:
        """Run each task when its outcome is asked for."""
        waiting = iter(tasks)
        while not stop() and (task := next(waiting, None)) is not None:
            listener.started(task)
            yield task, Outcome(attempt(task.work, _reporter(task, listener)))

    def sees(self, path: Path) -> bool:
        """Whether the file exists."""
        return path.exists()

    def provide(self, files: Iterable[Path]) -> None:
        """Nothing: the files are here."""


def _reporter(task: Task, listener: Listener) -> Callable[[int, int, dict[str, float]], None]:
    return lambda epoch, most, _metrics: listener.epoch(task, epoch, most)
