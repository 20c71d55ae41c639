"""Where the tasks of runs are done: executors, and features of a corpus, each extracted once."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from weakref import WeakSet

from marsbench.config import Execution
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import ConfigError, ExecutionError, StorageError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Executor, Led, Outcome, Task, failure
from marsbench.execution.executor import open_executor
from marsbench.execution.interrupt import Stopped
from marsbench.features.store import Extracted, Extraction, FeatureFile, FeatureStore
from marsbench.locks import pause
from marsbench.plugin.registry import Recipe
from marsbench.progress import Advance, Progress


@dataclass
class Resources:
    """Runs tasks on one corpus. Executors start when there is work for them and end with `stack`."""

    corpus: CheckedCorpus
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""
    asked: Execution
    unopened: Executor
    progress: Progress
    stop: Callable[[], bool]
    """Whether no task is to begin any more."""
    stack: ExitStack
    extracted: dict[str, FeatureFile | Failure] = field(default_factory=dict)
    """By recipe; each extractor is asked once."""

    def run(self, tasks: Iterator[Task], executor: Executor | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes of tasks; raises Stopped once all is in after Ctrl-C."""
        first = next(tasks, None)
        if first is not None and not self.stop():
            bars = ProgressBars(self.progress)
            led = Led(first, tasks)
            for task, outcome in (executor or self.executor).run(led, bars, self.stop):
                bars.ended(task)
                yield task, outcome
        if self.stop():
            raise Stopped

    def features_by(self, recipe: Recipe) -> FeatureFile | Failure:
        """Features of the corpus, or why there are none."""
        if recipe.key not in self.extracted:
            self.extracted[recipe.key] = self._extract(recipe)
        return self.extracted[recipe.key]

    def _extract(self, recipe: Recipe) -> FeatureFile | Failure:
        try:
            store = FeatureStore(recipe, self.folders)
            features = store.features_of(self.corpus, self.progress, self._run_extractions, self.pause)
        except (StorageError, ExecutionError, ConfigError):
            raise  # no plugin's fault: nothing else can go on either
        except _ExtractionFailed as failed:
            return failed.failure
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; the other runs go on
            return failure(error)
        self.executor.provide(features.files)
        return features

    def pause(self) -> None:
        """Between two looks at what another process holds; raises Stopped after Ctrl-C."""
        if self.stop():
            raise Stopped
        pause()

    def _run_extractions(self, extractions: Iterable[Extraction]) -> Iterator[Extracted]:
        tasks = (
            Task(f"{extraction.recipe.name}, {len(extraction.clips)} clips", extraction)
            for extraction in extractions
        )
        for _, outcome in self.run(tasks, self._extractor):
            if isinstance(outcome.value, Failure):
                raise _ExtractionFailed(outcome.value)
            yield outcome.value

    @cached_property
    def executor(self) -> Executor:
        """Where units are fitted."""
        return self.stack.enter_context(self.unopened)

    @cached_property
    def _extractor(self) -> Executor:
        """Where the audio is."""
        if self.executor.sees(self.corpus.clips[0].path):
            return self.executor
        here = self.asked.model_copy(update={"cluster": None})
        return self.stack.enter_context(open_executor(here))


class _ExtractionFailed(Exception):  # noqa: N818 - it carries the failure
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass
class _Bar:
    advance: Advance
    stack: ExitStack
    shown: int = 0


@dataclass
class ProgressBars:
    """Shows how far each task is; hears from any thread, also late."""

    progress: Progress
    _bars: dict[Task, _Bar] = field(default_factory=dict)
    _ended: WeakSet[Task] = field(default_factory=WeakSet)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def started(self, task: Task) -> None:
        """A task that begins again has a new bar."""
        with self._lock:
            self._close(task)

    def epoch(self, task: Task, epoch: int, most: int) -> None:
        """Open the task's bar with its first epoch: models without epochs show none."""
        with self._lock:
            if task in self._ended:
                return
            if task not in self._bars:
                stack = ExitStack()
                advance = stack.enter_context(self.progress.track(f"{task.name}, epochs", most, passing=True))
                self._bars[task] = _Bar(advance, stack)
            bar = self._bars[task]
            bar.advance(epoch - bar.shown)
            bar.shown = epoch

    def waiting(self, why: str) -> None:
        """Say so above the bars."""
        self.progress.say(why)

    def ended(self, task: Task) -> None:
        """The task's outcome is there."""
        with self._lock:
            self._ended.add(task)
            self._close(task)

    def _close(self, task: Task) -> None:
        if bar := self._bars.pop(task, None):
            bar.stack.close()
