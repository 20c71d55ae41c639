"""From settings to an executor, and the executors on this machine: in this process, in worker processes."""

import os
import pickle
import threading
import uuid
from dataclasses import replace
from math import inf

from marsbench.config import Execution
from marsbench.environment import import_extra
from marsbench.errors import ConfigError
from marsbench.execution.base import Called, EpochBar, Executor, Outcome, Task, attempt
from marsbench.execution.limits import Limits, even_share, limited_threads, memory_limit, n_cores
from marsbench.execution.worker import Isolation, close_session, run_isolated, start_processes

WORKERS_VARIABLE = "MARSBENCH_WORKERS"
_MEMORY_A_WORKER = 2e9
"""Bytes that should be there for each worker: TensorFlow and its data take about half of it."""


def open_executor(asked: Execution) -> Executor:
    """The executor that was asked for; it starts when its context is entered.

    Raises:
        ConfigError: settings that exclude each other.
        ExportError: a cluster without the packages of the extra `cluster`.
    """
    limits = Limits(asked.unit_timeout, asked.unit_memory)
    if asked.cluster is None:
        if workers := n_workers(asked):
            return LocalPool(workers, asked.threads, limits)
        if limits != Limits():
            raise ConfigError("a unit in this process has no limits; use --workers 1 with them")
        return InProcess(asked.threads)
    if asked.workers is not None:
        raise ConfigError("--workers and --cluster exclude each other: a cluster has its own workers")
    import_extra("distributed", "cluster")
    from marsbench.execution.dask_cluster import DaskExecutor

    return DaskExecutor(asked.cluster, asked.threads, limits)


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
    return int(max(1, min(n_cores() // asked.threads, memory_limit() // _MEMORY_A_WORKER)))


def memory_a_fit(asked: Execution) -> float:
    """Bytes that a fit may take; infinite for workers on other machines where the user set no limit."""
    if asked.unit_memory is None and asked.cluster is not None:
        return inf
    return asked.unit_memory or even_share(max(1, n_workers(asked)))


class InProcess(Executor):
    """No isolation: a task that ends the process ends the run, and what it prints goes to the terminal.

    A debugger needs that. What a plugin leaves behind in the process reaches the next task, which is said of
    those that are not built in.
    """

    slots = 1
    runs_in_caller = True

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._one_at_a_time = threading.Lock()
        self._told: set[str] = set()

    def submit(self, task: Task, bar: EpochBar) -> Outcome:
        """Run the task here and now."""
        with self._one_at_a_time, limited_threads(self._threads):
            self._tell(task, bar)
            bar.started()
            return Outcome(attempt(task.work, lambda epoch, most, _metrics: bar.epoch(epoch, most)))

    def _tell(self, task: Task, bar: EpochBar) -> None:
        """Say once of a plugin what its results may depend on here."""
        plugin = task.plugin
        if plugin is not None and plugin.name not in self._told and not plugin.entry.is_builtin:
            self._told.add(plugin.name)
            bar.waiting(
                f"--workers 0: all tasks of {plugin.name} share this process, so what one leaves behind "
                "may change the next one's result; with --workers 1 or more each has its own"
            )


class LocalPool(Executor):
    """Worker processes of this machine; whichever thread submits a task drives one."""

    runs_in_caller = False

    def __init__(self, workers: int, threads: int, limits: Limits) -> None:
        self.slots = workers
        self._isolation = Isolation(uuid.uuid4().hex, threads, limits).shared_by(workers)
        self._free = threading.BoundedSemaphore(workers)

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, plugin: Called) -> None:
        """Start the processes, which import the plugin if it is built in."""
        start_processes(self.slots, replace(self._isolation, plugin=plugin))

    def close(self) -> None:
        """End the processes, busy or idle."""
        close_session(self._isolation.session)

    def submit(self, task: Task, bar: EpochBar) -> Outcome:
        """Run the task in a process of its own, or in one that is kept for it, once a slot is free."""
        with self._free:
            return run_isolated(
                pickle.dumps(task.work), self._isolation.of(task, self.longest()), bar.started, bar.epoch
            )
