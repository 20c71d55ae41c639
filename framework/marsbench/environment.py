"""The environment of a result: versions, machine, git commit; what libraries print that nobody needs."""

import gc
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import unquote, urlsplit

from marsbench.errors import ExportError

_DISTRIBUTIONS = (
    "marsbench", "av", "keras", "librosa", "numpy", "scikit-learn", "scipy", "soundfile", "soxr",
    "tensorflow",
)  # fmt: skip
_STDERR = 2
_ONE_AT_A_TIME = threading.RLock()


@cache
def environment() -> dict[str, str]:
    """Python, platform, processor, library versions, and the commit of the working directory, by name."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "cpu": _cpu()}
    found |= {"cores": str(os.cpu_count()), "git": _git()}
    for name in _DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {name: value for name, value in found.items() if value}


SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""For Python processes: the working directory, which may hold a queue.py, is not where they import from."""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git() -> str:
    """Commit of the working directory, followed by + if files differ from it; empty outside git."""
    # The folder may be a stranger's, whose settings name a program for git to start.
    command = [
        "git",
        "-c",
        "core.fsmonitor=false",
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - a constant command
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def import_extra(module: str, extra: str) -> Any:
    """Import a module that an extra of marsbench installs; raises ExportError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExportError(f"{module.partition('.')[0]} is not installed: {install_hint(extra)}") from error


def install_hint(extra: str) -> str:
    """The command that installs an extra of marsbench: of the checkout that is in use, or of the package."""
    origin: dict[str, Any] = json.loads(distribution("marsbench").read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return f"pip install {quote(f'marsbench[{extra}]')}"
    checkout = Path(unquote(urlsplit(origin["url"]).path))
    where = "." if checkout == Path.cwd() else checkout
    return f"pip install -e {quote(f'{where}[{extra}]')}"


@contextmanager
def without_lines(is_noise: Callable[[str], bool]) -> Iterator[None]:
    """Buffer standard error, including that of libraries in C; then print all lines but the noise.

    What is printed by other threads comes later, and those that want the same wait.
    """
    try:
        saved = os.dup(_STDERR)
    except OSError:  # it is closed: nobody reads it
        yield
        return
    try:
        with _ONE_AT_A_TIME, tempfile.TemporaryFile() as caught:
            sys.stderr.flush()
            os.dup2(caught.fileno(), _STDERR)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(saved, _STDERR)
                caught.seek(0)
                lines = caught.read().decode(errors="replace").splitlines(keepends=True)
                sys.stderr.writelines(line for line in lines if not is_noise(line))
    finally:
        os.close(saved)


@contextmanager
def no_search_for_cycles() -> Iterator[None]:
    """Pause the garbage collector: records and clips have no cycles, and searching many takes long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
