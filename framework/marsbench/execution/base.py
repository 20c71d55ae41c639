"""Tasks, their outcomes, how they are shown, and what every executor offers."""

import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from marsbench.errors import BenchError, ConfigError, raise_machine_fault
from marsbench.evaluation.fit_result import Failure
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import OnEpoch
from marsbench.plugin.registry import Entry, Kind, discover
from marsbench.plugin.sklearn import SklearnModel
from marsbench.progress import Progress

Work = Callable[[OnEpoch], Any]
"""A picklable function; it may call what it is given after each epoch."""


class Called(NamedTuple):
    """The plugin that a task calls, as `make` finds it."""

    kind: Kind
    name: str
    folders: tuple[Path, ...]

    @property
    def entry(self) -> Entry:
        """The plugin, not yet imported; raises PluginError if it is not there."""
        return discover(self.folders).get(self.kind, self.name)


@dataclass(frozen=True)
class Task:
    """A piece of work with a name that screens show."""

    name: str
    work: Work
    plugin: Called | None = None

    @property
    def kept(self) -> str:
        """Tasks of one such name may follow one another in a process; empty for a process of its own.

        Built-in networks share processes, as do built-in estimators of scikit-learn and tasks of one built-in
        extractor: starting TensorFlow or an encoder takes seconds, and tests show that they compute in a used
        process what they compute in a new one. Nobody has shown that of other plugins.
        """
        if self.plugin is None or not self.plugin.entry.is_builtin:
            return ""
        if self.plugin.kind == "features":
            return self.plugin.name
        if issubclass(self.plugin.entry.plugin, KerasModel):
            return "networks"
        return "estimators" if issubclass(self.plugin.entry.plugin, SklearnModel) else ""


@dataclass(frozen=True)
class Outcome:
    """The result of a task."""

    value: Any
    """Whatever the work returned, or a `Failure`."""
    log: str = ""
    """What it printed, the middle left out if it is long; empty if that went to the terminal."""


Submit = Callable[[Task], Outcome]
"""Has a task run and waits for its outcome."""


class EpochBar:
    """The progress bar of one task; told how far the task is, from any thread."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._label = f"{name}, epochs"
        self._lock = threading.Lock()
        self._shown = ExitStack()
        self._epoch: int | None = None
        self._has_ended = False

    def started(self) -> None:
        """The task begins, or begins again after its worker died: the next epoch opens a new bar."""
        with self._lock:
            self._shown.close()
            self._epoch = None

    def epoch(self, epoch: int, most: int) -> None:
        """`epoch` of at most `most` epochs are done; the first opens the bar, as not every model has any."""
        with self._lock:
            if self._has_ended:
                return
            if self._epoch is None:
                bar = self._progress.track(self._label, most, passing=True)
                self._advance, self._epoch = self._shown.enter_context(bar), 0
            self._advance(epoch - self._epoch)
            self._epoch = epoch

    def waiting(self, why: str) -> None:
        """Nothing can run at the moment: print the reason above the bars."""
        self._progress.say(why)

    def end(self) -> None:
        """The task has ended; later reports are ignored."""
        with self._lock:
            self._has_ended = True
            self._shown.close()


class Executor(ABC):
    """Runs tasks somewhere. A context manager: the processes that it started end with the context."""

    runs_in_caller: bool
    """Whether a task runs in the very thread that submits it, so that this should be the main thread."""

    slots: int
    """Number of tasks that run at a time."""

    longest: Callable[[], float | None] = staticmethod(lambda: None)
    """Seconds that a task which begins now may take; None for the limit that was asked for, inf for none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027 - not every executor has processes
        """End the processes."""

    @abstractmethod
    def submit(self, task: Task, bar: EpochBar) -> Outcome:
        """Run a task and wait for its outcome; may be called from any thread.

        Raises:
            ConfigError: a value that the user set is refused by the plugin that it is for.
            StorageError: a fault of the machine that the task ran on.
            ExecutionError: the workers are gone.
        """

    def start(self, plugin: Called) -> None:  # noqa: B027 - not every executor starts any itself
        """Start processes that import a plugin, for tasks to come; before the context is entered."""

    def close(self) -> None:  # noqa: B027 - as above
        """End the processes that `start` started, where the context may not have been entered."""

    def sees(self, path: Path) -> bool:
        """Whether the file is there under that path wherever tasks run."""
        return path.exists()

    def provide(self, files: Iterable[Path]) -> None:  # noqa: B027 - on this machine they are there
        """Bring files of the feature store to wherever tasks run and they are not there yet."""


def attempt(work: Work, on_epoch: OnEpoch) -> Any:
    """Value of the work, or the Failure that its exception makes.

    Raises:
        ConfigError: the user's own setting is wrong.
        StorageError: the machine is at fault.
    """
    try:
        return work(on_epoch)
    except ConfigError:
        raise  # there is nothing to record
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; it becomes a row
        return failure(error)


def failure(error: BaseException) -> Failure:
    """Record of an exception; one that is no BenchError is named by its type.

    Raises:
        StorageError: it is a fault of this machine, so there is nothing to record.
    """
    raise_machine_fault(error)
    kind = type(error).__name__
    message = str(error) if isinstance(error, BenchError) else f"{kind}: {error}"
    return Failure(kind=kind, message=message, traceback="".join(traceback.format_exception(error)))
