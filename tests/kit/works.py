"""Work for executors: tests are no importable modules, so what worker processes unpickle stands here."""

import atexit
import ctypes
import locale
import logging
import mmap
import os
import resource
import signal
import string
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from marsbench.execution.base import Work
from marsbench.features.feature_file import FeatureFile
from marsbench.plugin.model import OnEpoch


def call(function: Callable[..., Any], *arguments: Any) -> Work:
    """Work that calls a function."""
    return partial(_call, function, arguments)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], _on_epoch: OnEpoch) -> Any:
    return function(*arguments)


def fail(error: BaseException) -> NoReturn:
    """Raise it."""
    raise error


def fill(n_bytes: int) -> None:
    """Take memory, piece by piece, and keep it for a while."""
    taken: list[bytes] = []
    while sum(len(piece) for piece in taken) < n_bytes:
        taken.append(b"x" * (32 << 20))
        time.sleep(0.02)
    time.sleep(60)


def print_lines(count: int) -> None:
    """Print so many numbered lines of a hundred characters."""
    for number in range(count):
        print(f"line {number:94}")  # noqa: T201 - the work


def leave_thread() -> None:
    """Return with a thread still at work."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def leave_user_thread() -> None:
    """Return with a thread still at work that the interpreter would wait for."""
    threading.Thread(target=time.sleep, args=(60,)).start()


def leave_exit_handler() -> None:
    """Return with a handler that would delay the end of the process."""
    atexit.register(time.sleep, 60)


def state() -> dict[str, Any]:
    """What a task may find changed in its process, by name."""
    os.umask(mode := os.umask(0))
    return {
        "class of a library": hasattr(logging.Logger, "left_behind"),
        "list of a class": len(string.Formatter.__dict__.get("seen", [])),
        "recursion limit": sys.getrecursionlimit(),
        "resource limit": resource.getrlimit(resource.RLIMIT_NOFILE),
        "environment": os.environ.get("LEFT_BEHIND"),
        "NumPy's errors": np.geterr()["divide"],
        "NumPy's print options": np.get_printoptions()["precision"],
        "NumPy's generator": np.random.get_state()[1].tolist(),  # type: ignore[index]  # noqa: NPY002 - the global one is the point
        "locale": locale.setlocale(locale.LC_CTYPE),
        "filters of warnings": len(warnings.filters),
        "working directory": str(Path.cwd()),
        "file mode": mode,
        "handler of a signal": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "modules": "left_behind" in sys.modules,
        "search path": "left_behind" in sys.path,
        "threads": threading.active_count(),
    }


def spoil_state() -> dict[str, Any]:
    """Change all of it; gives it as it is then."""
    logging.Logger.left_behind = string.Formatter.seen = [1]  # type: ignore[attr-defined]
    sys.setrecursionlimit(4321)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    os.environ["LEFT_BEHIND"] = "1"
    np.seterr(divide="raise")
    np.set_printoptions(precision=2)
    np.random.seed(3)  # noqa: NPY002 - the global one is the point
    locale.setlocale(locale.LC_CTYPE, "C")
    warnings.simplefilter("error", ResourceWarning)
    os.chdir("/")
    os.umask(0o77)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.modules["left_behind"] = sys
    sys.path.append("left_behind")
    leave_thread()
    return state()


def leave_process() -> int:
    """Return with another process still at work; gives its number."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid


def leave_process_and(path: Path, then: Callable[..., Any], *arguments: Any) -> None:
    """Write down the number of a process that is still at work, then do something."""
    path.write_text(str(leave_process()))
    then(*arguments)


def sleep_alone(seconds: int) -> None:
    """Sleep without letting any other thread of this process run."""
    ctypes.PyDLL(None).sleep(seconds)


def fork_and(then: Callable[..., Any], *arguments: Any) -> Any:
    """Leave a copy of this process behind that holds all its pipes, then do something."""
    if not os.fork():
        time.sleep(60)
        os._exit(0)
    return then(*arguments)


def close_pipes_and(then: Callable[..., Any], *arguments: Any) -> Any:
    """Close every file but the standard ones, as programs that become daemons do, then do something."""
    os.closerange(3, 256)
    return then(*arguments)


def once(marker: Path, first: Callable[..., Any], *arguments: Any) -> str:
    """Call the function the first time only; the marker file says that it was."""
    print("trying")  # noqa: T201 - the log is the point
    if not marker.exists():
        marker.touch()
        first(*arguments)
    return "survived"


def once_and_then_exit(marker: Path, first: Callable[..., Any], *arguments: Any) -> NoReturn:
    """Call the function the first time, end the process the second."""
    once(marker, first, *arguments)
    os._exit(7)


def getppid_after(seconds: float) -> int:
    """Take a while."""
    time.sleep(seconds)
    return os.getppid()


def count_epochs(most: int, on_epoch: OnEpoch) -> str:
    """Work of so many epochs."""
    for epoch in range(1, most + 1):
        on_epoch(epoch, most, {"loss": 1 / epoch})
    return "done"


def append(path: Path, line: str) -> None:
    """Add a line to a file."""
    with path.open("a") as file:
        file.write(f"{line}\n")


def read_features(features: FeatureFile, position: int, _on_epoch: OnEpoch) -> Any:
    """One clip's features, as a list."""
    return features.array(position).tolist()


def read_cut_off(path: Path) -> int:
    """Read a mapped file that is shorter than it was."""
    path.write_bytes(bytes(1 << 16))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        file.truncate(0)
        return mapped[-1]
