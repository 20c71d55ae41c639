"""The parent's side of a worker process: sends work, enforces limits, reports how the process ended."""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil

from marsbench.errors import ConfigError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.limits import Limits
from marsbench.execution.threads import environment_for

_TICK = 0.05
"""Seconds between two checks of the limits."""
_GRACE = 2.0
"""Seconds that a process may take to end after it closed its pipe, or to log its stack traces."""
_LOG_KEPT = 64 << 10
"""Bytes kept of the beginning and of the end of what a task prints."""
_LOG_ON_DISK = 16 << 20


class WorkerDied(Exception):  # noqa: N818 - the name describes the event
    """The process ended before it answered; the message says how."""


class WorkerProcess:
    """One process that does one task at a time."""

    def __init__(self, threads: int) -> None:
        self._log = _Log()
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "marsbench.execution.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.file,
            env=environment_for(threads),
            start_new_session=True,  # Ctrl-C in the terminal is for the driver
        )
        self._usage = psutil.Process(self._process.pid)
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self, payload: bytes, limits: Limits, on_epoch: Callable[[int, int], None]) -> Any:
        """Value of the pickled work, or a Failure: of the work itself, or of a limit that it exceeded.

        Raises:
            ConfigError: a value that the user set was refused.
            WorkerDied: the process is gone.
        """
        deadline = time.monotonic() + (limits.seconds or float("inf"))
        self._send(payload)
        while True:
            if exceeded := self._exceeded(limits, deadline):
                self.kill()
                return exceeded
            kind, value = self._next_answer()
            if kind == "epoch":
                on_epoch(*value)
            elif kind == "done":
                return self._finished(*value)
            elif kind == "refused":
                raise ConfigError(value)
            elif kind == "died":
                raise WorkerDied(self._how_it_ended())

    def take_log(self) -> str:
        """What was printed since the last call."""
        return self._log.take()

    @property
    def alive(self) -> bool:
        """Whether it can do another task."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process and those that it started, at once."""
        processes = [self._usage]
        with contextlib.suppress(psutil.Error):
            processes += self._usage.children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._process.returncode is None:  # else its number may be another's by now
            self._kill_group()
        self._process.wait()

    def close(self) -> None:
        """End the process and those that it started, and forget what was printed."""
        self.kill()
        with contextlib.suppress(OSError):  # an unsent request cannot be flushed any more
            self._process.stdin.close()  # type: ignore[union-attr]  # opened as a pipe above
        self._log.close()

    def _send(self, payload: bytes) -> None:
        pipe: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # opened as a pipe above
        try:
            pickle.dump(payload, pipe)
            pipe.flush()
        except OSError as error:
            raise WorkerDied(self._how_it_ended()) from error

    def _listen(self) -> None:
        """Hand on answers; their end is the process's end."""
        pipe: IO[bytes] = self._process.stdout  # type: ignore[assignment]  # opened as a pipe above
        with pipe:
            while True:
                try:
                    self._answers.put(pickle.load(pipe))  # noqa: S301 - from the process started above alone
                except Exception:  # noqa: BLE001 - its end, or rubbish, which may raise anything
                    self._answers.put(("died", None))
                    return

    def _next_answer(self) -> tuple[str, Any]:
        try:
            return self._answers.get(timeout=_TICK)
        except queue.Empty:  # a copy that the process made of itself may hold its pipe open
            return ("none" if self.alive else "died"), None

    def _finished(self, value: bytes | Failure, clean: bool) -> Any:
        if not clean:
            self.kill()
        return value if isinstance(value, Failure) else pickle.loads(value)  # noqa: S301 - as in `_listen`

    def _exceeded(self, limits: Limits, deadline: float) -> Failure | None:
        """The failure of a task that takes more than it may; the log says where it is."""
        self._log.trim()
        if time.monotonic() > deadline:
            self._tell_where_it_is()
            return limits.time_exceeded()
        with contextlib.suppress(psutil.Error):
            usage = self._usage.memory_info()
            # Pages of files that it maps, the features', are the system's to take back.
            return limits.memory_exceeded(usage.rss - getattr(usage, "shared", 0))
        return None

    def _tell_where_it_is(self) -> None:
        """Let it write the Python lines of all its threads into the log."""
        if hasattr(signal, "SIGUSR1"):
            before = self._log.size
            with contextlib.suppress(psutil.Error):
                self._usage.send_signal(signal.SIGUSR1)
            end = time.monotonic() + _GRACE
            time.sleep(_TICK)
            while self._log.size == before and time.monotonic() < end:
                time.sleep(_TICK)

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.kill()
            return "the worker process closed its pipe"
        self._kill_group()
        if code >= 0:
            return f"the worker process ended itself with exit status {code}"
        name = {entry.value: entry.name for entry in signal.Signals}.get(-code, f"signal {-code}")
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the worker process was killed by {name}{hint}"

    def _kill_group(self) -> None:
        """End what the process started and left, if it did not leave the group."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


class _Log:
    """What a process prints: its beginning and its end, however much there is between."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="marsbench-", suffix=".log")
        os.close(handle)
        self._path = Path(name)
        self.file = self._path.open("ab", buffering=0)
        """For the process: it appends, so it goes on at the new end when the file is cut."""
        self._reader = self._path.open("rb", buffering=0)
        self._unlink()
        self._head: bytes | None = None
        self._tail = b""
        """End of the text that was cut off, for the case that the process prints no more."""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return os.fstat(self._reader.fileno()).st_size

    def trim(self) -> None:
        """Keep the beginning and the end and let the rest go once it is large."""
        if (size := self.size) > _LOG_ON_DISK:
            if self._head is None:
                self._head = self._read(0)
            self._tail = self._read(size - _LOG_KEPT)
            self.file.truncate(0)

    def take(self) -> str:
        """The text so far; the next call begins after it."""
        size = self.size
        head, begun = (self._read(0), _LOG_KEPT) if self._head is None else (self._head, 0)
        cut = self._head is not None or size > 2 * _LOG_KEPT
        tail = (self._tail + self._read(max(size - _LOG_KEPT, begun)))[-_LOG_KEPT:]
        self._head, self._tail = None, b""
        self.file.truncate(0)
        return (head + (b"\n[...]\n" if cut else b"") + tail).decode(errors="replace")

    def close(self) -> None:
        self.file.close()
        self._reader.close()
        self._unlink()

    def _unlink(self) -> None:
        """Where open files can be unlinked, nothing is left behind however this process ends."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _read(self, start: int) -> bytes:
        self._reader.seek(start)
        return self._reader.read(_LOG_KEPT)
