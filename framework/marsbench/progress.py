"""How long work tells what it has done, without knowing who listens."""

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
