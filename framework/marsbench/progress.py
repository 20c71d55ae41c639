"""How long work reports progress, whatever shows it."""

import sys
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


def progress_for(verbose: bool) -> Progress:
    """Lines or nothing."""
    return Lines() if verbose else Silent()
