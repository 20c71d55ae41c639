"""How long work tells what it has done, without knowing who listens."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of steps just finished."""


class Progress(Protocol):
    """Whoever shows progress: a terminal, a notebook, nobody."""

    def track(self, label: str, total: int, *, passing: bool = False) -> AbstractContextManager[Advance]:
        """Open a task of `total` steps; it closes with the context.

        A `passing` one matters only while it lasts: nothing tells of it afterwards.
        """

    def say(self, line: str) -> None:
        """Show one line that stays."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:  # noqa: ARG002 - nobody looks
        """Open a task that nobody sees."""
        yield lambda _steps: None

    def say(self, line: str) -> None:
        """Drop the line."""


class Lines:
    """Prints a line for each task that ends, to standard error."""

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:  # noqa: ARG002 - the end alone is told
        """Open a task; it is told of when the context ends."""
        start = time.monotonic()
        yield lambda _steps: None
        if not passing:
            self.say(f"{label}: {time.monotonic() - start:.1f} s")

    def say(self, line: str) -> None:
        """Print the line."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - it was asked for


def progress_for(verbose: bool) -> Progress:
    """Lines or nothing."""
    return Lines() if verbose else Silent()
