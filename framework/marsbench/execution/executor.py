"""From settings to an executor."""

import os

from marsbench.errors import ConfigError
from marsbench.execution.in_process import InProcess
from marsbench.execution.task import Executor
from marsbench.execution.worker_process import Limits
from marsbench.experiment import Execution

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
    from marsbench.execution.cluster import local_executor, remote_executor

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
