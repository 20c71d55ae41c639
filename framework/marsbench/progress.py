"""How long work reports progress, whatever shows it."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from marsbench.errors import cleaned

Advance = Callable[[int], None]
"""Is called with the number of steps that were just finished."""


class Progress(Protocol):
    """Shows progress: on a terminal, in a notebook, or not at all."""

    def track(self, label: str, total: int, *, passing: bool = False) -> AbstractContextManager[Advance]:
        """Open a task of `total` steps; it closes with the context.

        A `passing` one is shown only while it lasts.
        """

    def say(self, line: str) -> None:
        """Show one line that stays."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:  # noqa: ARG002 - shows nothing
        """Open a task that is not shown."""
        yield lambda _steps: None

    def say(self, line: str) -> None:
        """Drop the line."""


class Lines:
    """Prints a line for each task that ends, to standard error."""

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:  # noqa: ARG002 - only the end is shown
        """Open a task; its line is printed when the context ends."""
        start = time.monotonic()
        yield lambda _steps: None
        if not passing:
            self.say(f"{label}: {time.monotonic() - start:.1f} s")

    def say(self, line: str) -> None:
        """Print the line."""
        print(cleaned(line, kept="\n"), file=sys.stderr, flush=True)  # noqa: T201 - the user asked for it


class Phases:
    """Seconds of this process by phase of its work, told by `--verbose`.

    Each moment counts to the phase that was begun last, in whatever thread, so that the phases add up to the
    process's whole time.
    """

    def __init__(self) -> None:
        self._seconds = {"start": 0.0}
        self._open = ["start"]
        self._since = time.monotonic()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the time inside the context to a phase."""
        self._change(name, is_begun=True)
        try:
            yield
        finally:
            self._change(name, is_begun=False)

    def _change(self, name: str, *, is_begun: bool) -> None:
        with self._lock:
            now = time.monotonic()
            self._seconds[self._open[-1]] = self._seconds.get(self._open[-1], 0.0) + now - self._since
            self._since = now
            if is_begun:
                self._open.append(name)
            else:
                del self._open[len(self._open) - 1 - self._open[::-1].index(name)]

    def line(self, process_seconds: float) -> str:
        """The phases in one line; what of the process's time was before this object belongs to "start"."""
        with self.of("start"):
            seconds = dict(self._seconds)
        seconds["start"] += max(process_seconds - sum(seconds.values()), 0.0)
        told = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
        return f"Seconds: {told}; in all {sum(seconds.values()):.1f}"


PHASES = Phases()
phase = PHASES.of


def progress_for(verbose: bool) -> Progress:
    """Lines or nothing."""
    return Lines() if verbose else Silent()
