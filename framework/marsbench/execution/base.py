"""Tasks, their outcomes, and what every executor offers."""

import traceback
from collections.abc import Callable, Iterable
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
    """A piece of work with a name that screens show; two tasks are never equal."""

    name: str
    work: Work


@dataclass(frozen=True)
class Outcome:
    """The result of a task."""

    value: Any
    """Whatever the work returned, or a `Failure`."""
    log: str = ""
    """What it printed, the middle left out if it is long; empty if that went to the terminal."""


Submit = Callable[[Task], Outcome]
"""Has a task run and waits for its outcome."""


class Listener(Protocol):
    """Receives the progress of tasks; called from any thread."""

    def started(self, task: Task) -> None:
        """A task begins, or begins again after its worker died."""

    def epoch(self, task: Task, epoch: int, most: int) -> None:
        """A task has finished `epoch` of at most `most` epochs."""

    def waiting(self, why: str) -> None:
        """Nothing can run at the moment."""


class Executor(Protocol):
    """Runs tasks somewhere. A context manager: the processes that it started end with the context."""

    runs_in_caller: bool
    """Whether a task runs in the very thread that submits it, so that this should be the main thread."""

    @property
    def slots(self) -> int:
        """Number of tasks that run at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def submit(self, task: Task, listener: Listener) -> Outcome:
        """Run a task and wait for its outcome; may be called from any thread.

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
