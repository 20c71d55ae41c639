"""Cores and memory, as control groups of containers limit them."""

import os
from pathlib import Path

import psutil
import pytest

from marsbench.execution import limits
from marsbench.execution.limits import memory_limit, n_cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups without limits, on a machine of 16 cores."""
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_there_is_what_the_machine_has(groups: Path) -> None:
    assert n_cores() == 16
    write(groups / "memory.max", "max\n")
    assert memory_limit() <= psutil.virtual_memory().total


@pytest.mark.parametrize(("quota", "expected"), [("max", 16), ("250000", 3), ("100000", 1), ("9900000", 16)])
def test_a_quota_of_time_counts_as_cores(groups: Path, quota: str, expected: int) -> None:
    own = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2].lstrip("/")
    write(groups / own / "cpu.max", f"{quota} 100000\n")
    assert n_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("50000", 1), ("400000", 4)])
def test_so_does_one_of_the_older_kind(groups: Path, quota: str, expected: int) -> None:
    write(groups / "cpu" / "cpu.cfs_quota_us", quota)
    write(groups / "cpu" / "cpu.cfs_period_us", "100000")
    assert n_cores() == expected


@pytest.mark.parametrize("name", ["memory.max", "memory.high", "memory/memory.limit_in_bytes"])
def test_memory_is_what_the_group_may_take(groups: Path, name: str) -> None:
    write(groups / name, "123456789\n")
    assert memory_limit() == 123456789
