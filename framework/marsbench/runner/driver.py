"""From an experiment to finished runs.

One way for data: names -> plugins -> corpus -> protocol (all in `planning`) -> features from the store ->
units -> out-of-fold probabilities -> run -> leaderboard.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from marsbench.errors import ConfigError, ExecutionError, StorageError
from marsbench.evaluation.unit_result import Failure
from marsbench.execution.executor import open_executor
from marsbench.execution.interruption import graceful_interruption
from marsbench.execution.task import Executor, Outcome, Task, failure
from marsbench.experiment import Experiment
from marsbench.extraction import Extracted, Extraction
from marsbench.feature_store import FeatureFile, FeatureStore
from marsbench.files import require_writable
from marsbench.locks import is_locked, pause
from marsbench.planning import Plan, make_plan
from marsbench.plugin.registry import Recipe
from marsbench.progress import Progress, Silent
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.bars import Bars
from marsbench.runner.ongoing import OngoingRun


def run(
    experiment: Experiment, progress: Progress | None = None, *, retry_failed: bool = False
) -> list[tuple[RunFolder, Run]]:
    """Run every pipeline of an experiment; what an earlier call finished is reused.

    A unit that failed earlier is left alone unless `retry_failed`.

    Raises:
        BenchError: what was asked for cannot be planned, a result cannot be written, the workers are gone. An
            extraction or a unit that fails is recorded in its run instead, and the other runs go on.
        KeyboardInterrupt: after Ctrl-C, once what was under way is finished and written.
    """
    progress = progress or Silent()
    require_writable(experiment.results)
    executor = open_executor(experiment)
    plan = make_plan(experiment, progress)
    runs = [OngoingRun(plan, pipeline, experiment, progress) for pipeline in plan.pipelines]
    with graceful_interruption(progress.say) as stop, ExitStack() as stack:
        _Driver(plan, experiment, executor, progress, stop, stack).make(runs, retry_failed)
    return [(ongoing.folder, ongoing.record) for ongoing in runs]


@dataclass
class _Driver:
    """Executors start when there is work for them and end with `stack`."""

    plan: Plan
    experiment: Experiment
    unopened: Executor
    progress: Progress
    stop: Callable[[], bool]
    stack: ExitStack
    extracted: dict[str, FeatureFile | Failure] = field(default_factory=dict)
    """By recipe; each extractor is asked once."""

    def make(self, runs: list[OngoingRun], retry_failed: bool) -> None:
        """Finish every run, those that another process is making when that has ended."""
        for ongoing in runs:
            ongoing.announce()
        for recipe in {r.features.key: r.features for r in runs if r.has_gaps(retry_failed)}.values():
            self._features_by(recipe)
        while runs := self._make_free(runs, retry_failed):
            runs[0].say("another process is making it; waiting for it")
            while is_locked(runs[0].folder.path):
                self._pause()

    def _make_free(self, runs: list[OngoingRun], retry_failed: bool) -> list[OngoingRun]:
        """Make the runs that no other process is making; gives the others."""
        owners: dict[Task, tuple[OngoingRun, int]] = {}
        taken: list[OngoingRun] = []

        def tasks() -> Iterator[Task]:
            for ongoing in runs:
                if not ongoing.open(retry_failed):
                    taken.append(ongoing)
                    continue
                for fold, task in self._tasks(ongoing):
                    owners[task] = ongoing, fold
                    yield task

        try:
            for task, outcome in self._run(tasks()):
                ongoing, fold = owners.pop(task)
                ongoing.take(fold, outcome)
        finally:
            for ongoing in runs:
                ongoing.release()
        return taken

    def _tasks(self, ongoing: OngoingRun) -> Iterator[tuple[int, Task]]:
        """The missing folds' units; none if the features that they need cannot be extracted."""
        if not (missing := ongoing.missing):
            return
        features = self._features_by(ongoing.features)
        if isinstance(features, Failure):
            ongoing.give_up(features)
            return
        for fold in missing:
            yield fold, ongoing.task(fold, features)

    def _run(self, tasks: Iterable[Task], executor: Executor | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes of tasks; raises KeyboardInterrupt once all is in after Ctrl-C."""
        waiting = iter(tasks)
        first = next(waiting, None)
        if first is not None and not self.stop():
            bars = Bars(self.progress)
            for task, outcome in (executor or self._executor).run(chain([first], waiting), bars, self.stop):
                bars.ended(task)
                yield task, outcome
        if self.stop():
            raise KeyboardInterrupt

    def _features_by(self, recipe: Recipe) -> FeatureFile | Failure:
        """Features of the plan's corpus, or why there are none."""
        if recipe.key not in self.extracted:
            self.extracted[recipe.key] = self._extract(recipe)
        return self.extracted[recipe.key]

    def _extract(self, recipe: Recipe) -> FeatureFile | Failure:
        try:
            store = FeatureStore(recipe, self.plan.folders)
            features = store.features_of(self.plan.corpus, self.progress, self._run_extractions, self._pause)
        except (StorageError, ExecutionError, ConfigError):
            raise  # no plugin's fault: nothing else can go on either
        except _ExtractionFailed as failed:
            return failed.failure
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; the other runs go on
            return failure(error)
        self._executor.provide(features.files)
        return features

    def _pause(self) -> None:
        """Between two looks at what another process holds; raises KeyboardInterrupt after Ctrl-C."""
        if self.stop():
            raise KeyboardInterrupt
        pause()

    def _run_extractions(self, extractions: Iterable[Extraction]) -> Iterator[Extracted]:
        tasks = (
            Task(f"{extraction.recipe.name}, {len(extraction.clips)} clips", extraction)
            for extraction in extractions
        )
        for _, outcome in self._run(tasks, self._extractor):
            if isinstance(outcome.value, Failure):
                raise _ExtractionFailed(outcome.value)
            yield outcome.value

    @cached_property
    def _executor(self) -> Executor:
        return self.stack.enter_context(self.unopened)

    @cached_property
    def _extractor(self) -> Executor:
        """Where the audio is."""
        if self._executor.sees(self.plan.corpus.clips[0].path):
            return self._executor
        here = self.experiment.model_copy(update={"cluster": None})
        return self.stack.enter_context(open_executor(here))


class _ExtractionFailed(Exception):  # noqa: N818 - it carries the failure
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
