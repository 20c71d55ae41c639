"""Tasks in this process, one after the other: for debugging."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from marsbench.execution.task import Listener, Outcome, Task, attempt
from marsbench.execution.threads import limited_threads


class InProcess:
    """No isolation: a task that ends the process ends the run, and what it prints goes to the terminal."""

    slots = 1

    def __init__(self, threads: int) -> None:
        self._threads: AbstractContextManager[None] = limited_threads(threads)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._threads)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def run(
        self, tasks: Iterable[Task], listener: Listener, stop: Callable[[], bool]
    ) -> Iterator[tuple[Task, Outcome]]:
        """Run each task when its outcome is asked for."""
        waiting = iter(tasks)
        while not stop() and (task := next(waiting, None)) is not None:
            listener.started(task)
            yield task, Outcome(attempt(task.work, _reporter(task, listener)))

    def sees(self, path: Path) -> bool:
        """Whether the file exists."""
        return path.exists()

    def provide(self, files: Iterable[Path]) -> None:
        """Nothing: the files are here."""


def _reporter(task: Task, listener: Listener) -> Callable[[int, int, dict[str, float]], None]:
    return lambda epoch, most, _metrics: listener.epoch(task, epoch, most)
