"""How long one fit may run and how much memory it may take, and what this machine has.

A task that takes more is stopped: its worker process is killed and the task is recorded as failed. The others
continue.
"""

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from marsbench.evaluation.fit_result import Failure

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
class Limits:
    """Time and memory that one task may take: `--unit-timeout`, `--unit-memory`."""

    seconds: float | None = None
    memory: int | None = None
    """Bytes of resident memory of the worker process."""

    def time_exceeded(self) -> Failure:
        """The failure that a task which ran past its time is recorded as."""
        return Failure(kind="TimeLimit", message=f"stopped at its time limit of {self.seconds:g} s")

    def memory_exceeded(self, used: int) -> Failure | None:
        """The failure of a task whose process takes `used` bytes; None if it may take so much."""
        if self.memory is None or used <= self.memory:
            return None
        sizes = f"{used / 1e9:.2f} GB, the limit is {self.memory / 1e9:.2f} GB"
        return Failure(kind="MemoryLimit", message=f"stopped because it took {sizes}")


def even_share(n_processes: int) -> int:
    """Bytes that each of so many processes of this machine may take where the user set no limit."""
    return int(_SHARE_OF_MEMORY * memory_limit() / n_processes)


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
