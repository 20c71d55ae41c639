"""Where the tasks of runs are done: executors, and features of a corpus, each extracted once."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from marsbench.corpus import CheckedCorpus
from marsbench.errors import ConfigError, ExecutionError, StorageError
from marsbench.evaluation.unit_result import Failure
from marsbench.execution.executor import open_executor
from marsbench.execution.interruption import Stopped
from marsbench.execution.task import Executor, Led, Outcome, Task, failure
from marsbench.experiment import Execution
from marsbench.extraction import Extracted, Extraction
from marsbench.feature_store import FeatureFile, FeatureStore
from marsbench.locks import pause
from marsbench.plugin.registry import Recipe
from marsbench.progress import Progress
from marsbench.runner.bars import Bars


@dataclass
class Workplace:
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
            bars = Bars(self.progress)
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
