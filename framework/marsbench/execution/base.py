"""What is run, what comes of it, and what every executor does."""

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from marsbench.errors import BenchError, ConfigError
from marsbench.evaluation.fit_result import Failure
from marsbench.plugin.model import OnEpoch

Work = Callable[[OnEpoch], Any]
"""A picklable function; it may call what it is given after each epoch."""


@dataclass(frozen=True, eq=False)
class Task:
    """A piece of work with a name that screens show; each is itself alone."""

    name: str
    work: Work


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    value: Any
    """Whatever the work returned, or a `Failure`."""
    log: str = ""
    """What it printed, the middle left out if it is long; empty if that went to the terminal."""


class Led(Iterator[Task]):
    """A first task, then those of an iterator that may have more after it had none."""

    def __init__(self, first: Task, others: Iterator[Task]) -> None:
        self._first: Task | None = first
        self._others = others

    def __next__(self) -> Task:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._others)


class Listener(Protocol):
    """Whoever wants to know how tasks get on; called from any thread."""

    def started(self, task: Task) -> None:
        """A task begins, or begins again after its worker died."""

    def epoch(self, task: Task, epoch: int, most: int) -> None:
        """A task has finished `epoch` of at most `most` epochs."""

    def waiting(self, why: str) -> None:
        """Nothing can run at the moment."""


class Executor(Protocol):
    """Runs tasks somewhere, a few at a time. A context manager: what it started ends with the context."""

    @property
    def slots(self) -> int:
        """How many tasks run at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def run(
        self, tasks: Iterable[Task], listener: Listener, stop: Callable[[], bool]
    ) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes as tasks finish, in any order; a task that fails disturbs no other.

        Tasks are taken from the iterable when there is room for them, and no more once `stop()` is true. It
        is asked again after each outcome, though it had none before: what follows may depend on outcomes.

        Raises:
            ConfigError: a value that the user set is refused by the plugin that it is for.
            ExecutionError: the workers are gone.
        """

    def sees(self, path: Path) -> bool:
        """Whether the file is there under that path wherever tasks run."""

    def provide(self, files: Iterable[Path]) -> None:
        """Bring files of the feature store to wherever tasks run and they are not there yet."""


def attempt(work: Work, on_epoch: OnEpoch) -> Any:
    """Value of the work, or the Failure that its exception makes; a ConfigError is raised."""
    try:
        return work(on_epoch)
    except ConfigError:
        raise  # the user's own setting is wrong: there is nothing to record
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; it becomes a row
        return failure(error)


def failure(error: BaseException) -> Failure:
    """Record of an exception; one that is no BenchError is named by its type."""
    kind = type(error).__name__
    message = str(error) if isinstance(error, BenchError) else f"{kind}: {error}"
    return Failure(kind=kind, message=message, traceback="".join(traceback.format_exception(error)))
