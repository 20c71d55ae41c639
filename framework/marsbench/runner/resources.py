"""What runs need to compute: executors, and features, each extracted once."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from marsbench.atomic_files import at_work, home, pause
from marsbench.config import Execution, Experiment, Fusion, Versions
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import ConfigError, ExecutionError, StorageError, telling_machine_faults
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Called, Executor, Outcome, Task, failure
from marsbench.execution.executor import open_executor
from marsbench.execution.scheduler import Scheduler, Stopped, graceful_interruption
from marsbench.features.extraction import Extracted, Extraction
from marsbench.features.feature_file import FeatureFile
from marsbench.features.store import stored_features
from marsbench.plugin.registry import Recipe
from marsbench.progress import Progress, phase

OUT_OF_TIME, NO_TIME = "OutOfTime", "no time left for it"
"""Kind and message of the failure of an extraction that `Resources.is_late` stopped."""


@dataclass
class Resources:
    """Runs functions that submit tasks. Executors start when they are needed and end with `stack`."""

    asked: Execution
    unopened: Executor
    progress: Progress
    scheduler: Scheduler
    """Runs the functions."""
    stack: ExitStack
    extracted: dict[str, FeatureFile | Failure] = field(default_factory=dict)
    """By `extracted_key` of recipe and versions; each extractor is asked once."""
    is_late: Callable[[], bool] = lambda: False
    """Whether an extraction stops after the clips under way, which are kept."""
    _extracting: threading.Lock = field(default_factory=threading.Lock)
    _extractor: Executor | None = None

    @classmethod
    @contextmanager
    def opened(
        cls, asked: Experiment | Fusion, executor: Executor, progress: Progress
    ) -> Iterator["Resources"]:
        """Resources until the context ends; inside, Ctrl-C lets running tasks come to their end.

        Raises:
            StorageError: in place of any exception inside that is a fault of this machine.
        """
        with (
            telling_machine_faults(),
            at_work("fits", asked.results, home()),
            graceful_interruption(progress.say) as stop,
            ExitStack() as stack,
        ):
            yield cls(asked, executor, progress, Scheduler(stop, progress), stack)

    def submit(self, task: Task, begin: Callable[[], object] = lambda: None) -> Outcome:
        """Outcome of a task; `begin` is called before it. Raises as `Scheduler.submit` does."""
        return self.scheduler.submit(task, self.executor, begin)

    def features_of(
        self,
        corpus: CheckedCorpus,
        folders: tuple[Path, ...],
        versions: Versions | None,
        recipe: Recipe,
    ) -> FeatureFile | Failure:
        """Features of the corpus and of versions, or why there are none; `folders` hold drop-in plugins."""
        key = extracted_key(recipe, versions)
        if key not in self.extracted:
            self._extractor = self._extractor or self._where_files_are(corpus.clips[0].path)
            with self.scheduler.others_go_on(), self._extracting:
                if key not in self.extracted:
                    found = self._extract(corpus, folders, versions, recipe)
                    if isinstance(found, Failure) and found.kind == OUT_OF_TIME:
                        return found  # not for good
                    self.extracted[key] = found
        return self.extracted[key]

    def forget_failures(self) -> None:
        """Let extractors that failed be asked again."""
        for key in [key for key, found in self.extracted.items() if isinstance(found, Failure)]:
            del self.extracted[key]

    def _extract(
        self, corpus: CheckedCorpus, folders: tuple[Path, ...], versions: Versions | None, recipe: Recipe
    ) -> FeatureFile | Failure:
        try:
            with phase("features"):
                features = stored_features(
                    corpus, recipe, folders, versions, self.progress, self._run_all, self.pause
                )
        except (StorageError, ExecutionError, ConfigError):
            raise  # no plugin's fault: nothing else can go on either
        except _ExtractionFailed as failed:
            return failed.failure
        except _ExtractionLate:
            return Failure(kind=OUT_OF_TIME, message=NO_TIME)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; the other runs go on
            return failure(error)
        self.executor.provide(features.files)
        return features

    def _run_all(self, extractions: Iterable[Extraction]) -> Iterator[Extracted]:
        tasks = (
            Task(f"{name}, {len(one.clips)} clips", one, Called("features", name, one.folders))
            for one in extractions
            if (name := one.recipe.name)
        )
        for outcome in self.scheduler.submit_all(tasks, self._extractor or self.executor):
            if isinstance(outcome.value, Failure):
                raise _ExtractionFailed(outcome.value)
            yield outcome.value
            if self.is_late():
                raise _ExtractionLate

    def pause(self) -> None:
        """Wait a moment for another process; raises Stopped after Ctrl-C."""
        if self.scheduler.stop():
            raise Stopped
        pause()

    @cached_property
    def executor(self) -> Executor:
        """Where units are fitted."""
        return self.stack.enter_context(self.unopened)

    def _where_files_are(self, path: Path) -> Executor:
        """The executor, or one on this machine if the file is not seen there."""
        if self.executor.sees(path):
            return self.executor
        return self.stack.enter_context(open_executor(self.asked.model_copy(update={"cluster": None})))


def extracted_key(recipe: Recipe, versions: Versions | None) -> str:
    """Key of features in `Resources.extracted`: the same whether predictions are averaged or not."""
    return " ".join([recipe.key, *(versions.kinds if versions else ())])


class _ExtractionLate(Exception):  # noqa: N818 - no fault of the extractor
    """`Resources.is_late`."""


class _ExtractionFailed(Exception):  # noqa: N818 - it carries the failure
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
