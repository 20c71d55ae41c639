"""What a task may take, its time, memory and threads, and what this machine and a time budget have."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import psutil

from marsbench.environment import SAFE_PATH
from marsbench.plugin.registry import environment_without_plugins

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""Read by the numerical libraries when they are loaded, so this module must load none."""
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
    """What one task may take: `--unit-timeout`, `--unit-memory`. One that takes more is killed and failed."""

    seconds: float | None = None
    memory: int | None = None
    """Bytes of resident memory of the worker process."""


@dataclass
class Clock:
    """Counts the seconds of a time budget, with those that interrupted commands spent of it."""

    budget: float = math.inf
    """Seconds; infinite for no limit."""
    spent: float = 0.0
    """Seconds that earlier commands took."""
    now: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.now()

    @property
    def elapsed(self) -> float:
        """Seconds that all commands together took."""
        return self.spent + self.now() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left, negative once the time is up."""
        return self.budget - self.elapsed

    def reaches(self, share: float, needed: float = 0.0) -> bool:
        """Whether something that takes `needed` seconds would end within that share of the budget."""
        return self.elapsed + needed <= share * self.budget

    def part(self, n_parts: int, spent: float) -> Self:
        """A clock for one of `n_parts` equal parts of what is left; `spent` of it is gone already."""
        return type(self)(self.left / max(1, n_parts), spent, self.now)

    def deadline(self, reserved: float) -> float | None:
        """`time.time()` at which only `reserved` seconds are left; None for never."""
        return None if math.isinf(self.budget) else time.time() + self.left - reserved


# The number of threads is part of what a result depends on: the order of floating-point sums changes with it.
# So it does not follow the number of workers, and a run gives the same bits however many there are.


def environment_for(threads: int) -> dict[str, str]:
    """Environment of a process that computes with so many threads, and may share a GPU with others.

    What plugins set as this process imported them is for the processes that import them.
    """
    share = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return share | environment_without_plugins() | SAFE_PATH | dict.fromkeys(THREAD_VARIABLES, str(threads))


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Hold this process to so many threads: libraries that are loaded already, and those loaded inside.

    TensorFlow keeps the number that it was first used with.
    """
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        with _thread_pools(len(sys.modules)).limit(limits=threads):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@lru_cache(maxsize=1)
def _thread_pools(_n_modules: int) -> Any:
    """Those of the libraries that are loaded: they are listed, in 4 ms, only after modules were imported."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


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


def even_share(n_processes: int) -> int:
    """Bytes that each of so many processes of this machine may take where the user set no limit."""
    return int(_SHARE_OF_MEMORY * memory_limit() / n_processes)


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
