"""Where a result came from: versions, machine, state of the sources."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_DISTRIBUTIONS = (
    "marsbench", "keras", "librosa", "numpy", "scikit-learn", "scipy", "soundfile", "soxr", "tensorflow",
)  # fmt: skip


@cache
def environment() -> dict[str, str]:
    """Versions of what decides the numbers, the processor, and the commit of the working directory."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "cpu": _cpu()}
    found |= {"cores": str(os.cpu_count()), "git": _git()}
    found |= {name: _version(name) for name in _DISTRIBUTIONS}
    return {name: value for name, value in found.items() if value}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git() -> str:
    """Commit of the working directory, with a plus sign if files differ from it; empty outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - a constant command
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
