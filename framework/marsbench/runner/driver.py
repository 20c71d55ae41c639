"""From an experiment to finished runs.

One way for data: names -> plugins -> corpus -> protocol (all in `planning`) -> features from the store ->
(a study of each fold ->) units -> out-of-fold probabilities -> run -> leaderboard.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from pathlib import Path

from marsbench.corpus import CheckedCorpus
from marsbench.errors import ConfigError, ExecutionError, StorageError
from marsbench.evaluation.unit_result import Failure
from marsbench.execution.executor import open_executor
from marsbench.execution.interruption import Stopped, graceful_interruption
from marsbench.execution.task import Executor, Led, Outcome, Task, failure
from marsbench.experiment import Experiment
from marsbench.extraction import Extracted, Extraction
from marsbench.feature_store import FeatureFile, FeatureStore
from marsbench.files import require_writable
from marsbench.locks import is_locked, pause
from marsbench.planning import make_plans
from marsbench.plugin.registry import Recipe
from marsbench.progress import Progress, Silent
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.bars import Bars
from marsbench.runner.fold_queue import FoldQueue, FoldWork
from marsbench.runner.fold_steps import untuned
from marsbench.runner.ongoing import OngoingRun, runs_of
from marsbench.runner.time_budget import TimeBudget
from marsbench.tuning.search_space import SearchSpace


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
    plans = make_plans(experiment, progress)
    runs = [run for plan in plans for run in runs_of(plan, experiment, progress)]
    with graceful_interruption(progress.say) as stop, ExitStack() as stack:
        _Driver(plans[0].corpus, plans[0].folders, experiment, executor, progress, stop, stack).make(
            runs, retry_failed
        )
    return [(ongoing.folder, ongoing.record) for ongoing in runs]


@dataclass
class _Driver:
    """Executors start when there is work for them and end with `stack`."""

    corpus: CheckedCorpus
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""
    experiment: Experiment
    unopened: Executor
    progress: Progress
    stop: Callable[[], bool]
    stack: ExitStack
    extracted: dict[str, FeatureFile | Failure] = field(default_factory=dict)
    """By recipe; each extractor is asked once."""
    spaces: dict[RunFolder, SearchSpace | Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = TimeBudget(self.experiment.time_budget)

    def make(self, runs: list[OngoingRun], retry_failed: bool) -> None:
        """Finish every run, those that another process is making when that has ended."""
        for ongoing in runs:
            ongoing.announce()
        for recipe in {r.features.key: r.features for r in runs if r.has_gaps(retry_failed)}.values():
            self._features_by(recipe)
        for ongoing in runs:
            if ongoing.tuning is not None and ongoing.has_gaps(retry_failed):
                self._space_of(ongoing)
        while runs := self._make_free(runs, retry_failed):
            runs[0].say("another process is making it; waiting for it")
            while is_locked(runs[0].folder.path):
                self._pause()

    def _make_free(self, runs: list[OngoingRun], retry_failed: bool) -> list[OngoingRun]:
        """Make the runs that no other process is making; gives the others."""
        taken: list[OngoingRun] = []

        def batches() -> Iterator[list[FoldWork]]:
            for position, ongoing in enumerate(runs):
                if ongoing.open(retry_failed):
                    yield self._works(ongoing, runs[position:])
                else:
                    taken.append(ongoing)

        queue = FoldQueue(batches())
        try:
            for task, outcome in self._run(queue):
                queue.take(task, outcome)
        finally:
            for ongoing in runs:
                ongoing.release()
        return taken

    def _works(self, ongoing: OngoingRun, to_come: Sequence[OngoingRun]) -> list[FoldWork]:
        """What the missing folds need; nothing if the features that they need cannot be extracted."""
        if not (missing := ongoing.missing):
            return []
        features = self._features_by(ongoing.features)
        if isinstance(features, Failure):
            ongoing.give_up(features)
            return []
        if ongoing.tuning is None:
            return [
                ongoing.work(fold, untuned(ongoing.task_name(fold), ongoing.units.outer(fold, features)))
                for fold in missing
            ]
        space = self._space_of(ongoing)
        if isinstance(space, Failure):
            ongoing.give_up(space)
            return []
        until = self.budget.share(sum(run.tuning is not None for run in to_come), ongoing.seconds_spent)
        tuned = (
            ongoing.tuned_fold(
                fold,
                space,
                self._features_by,
                time_is_up=lambda seconds: self.budget.is_up(
                    until, seconds + self._seconds_of_folds(ongoing)
                ),
                deadline=self.budget.deadline(until, self._seconds_of_folds(ongoing)),
                workers_see_folder=self._executor.sees(ongoing.folder.path),
            )
            for fold in missing
        )
        return [ongoing.work(fold_tuned.fold, fold_tuned.steps(features)) for fold_tuned in tuned]

    def _seconds_of_folds(self, ongoing: OngoingRun) -> float:
        """What fitting the run's missing folds takes once tuning is done."""
        return ceil(len(ongoing.missing) / max(1, self._executor.slots)) * ongoing.seconds_a_fold

    def _space_of(self, ongoing: OngoingRun) -> SearchSpace | Failure:
        """What a tuner may vary of the run's pipeline; a worker is asked once."""
        if ongoing.folder not in self.spaces:
            self.spaces[ongoing.folder] = self._explore(ongoing)
        return self.spaces[ongoing.folder]

    def _explore(self, ongoing: OngoingRun) -> SearchSpace | Failure:
        features = self._features_by(ongoing.features)
        if isinstance(features, Failure):
            return features
        task = Task(f"{ongoing.name}, search space", ongoing.exploration(features.input_shape))
        ((_, outcome),) = self._run(iter([task]))
        space: SearchSpace | Failure = outcome.value
        return space

    def _run(self, tasks: Iterator[Task], executor: Executor | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes of tasks; raises Stopped once all is in after Ctrl-C."""
        first = next(tasks, None)
        if first is not None and not self.stop():
            bars = Bars(self.progress)
            led = Led(first, tasks)
            for task, outcome in (executor or self._executor).run(led, bars, self.stop):
                bars.ended(task)
                yield task, outcome
        if self.stop():
            raise Stopped

    def _features_by(self, recipe: Recipe) -> FeatureFile | Failure:
        """Features of the corpus, or why there are none."""
        if recipe.key not in self.extracted:
            self.extracted[recipe.key] = self._extract(recipe)
        return self.extracted[recipe.key]

    def _extract(self, recipe: Recipe) -> FeatureFile | Failure:
        try:
            store = FeatureStore(recipe, self.folders)
            features = store.features_of(self.corpus, self.progress, self._run_extractions, self._pause)
        except (StorageError, ExecutionError, ConfigError):
            raise  # no plugin's fault: nothing else can go on either
        except _ExtractionFailed as failed:
            return failed.failure
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; the other runs go on
            return failure(error)
        self._executor.provide(features.files)
        return features

    def _pause(self) -> None:
        """Between two looks at what another process holds; raises Stopped after Ctrl-C."""
        if self.stop():
            raise Stopped
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
        if self._executor.sees(self.corpus.clips[0].path):
            return self._executor
        here = self.experiment.model_copy(update={"cluster": None})
        return self.stack.enter_context(open_executor(here))


class _ExtractionFailed(Exception):  # noqa: N818 - it carries the failure
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
