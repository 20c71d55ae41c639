"""From an experiment to finished runs.

One way for data: names -> plugins -> corpus -> protocol (all in `planning`) -> features from the store ->
(a study of each fold ->) units -> out-of-fold probabilities -> run -> leaderboard.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import ceil

from marsbench.atomic_files import require_writable
from marsbench.config import Experiment
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Outcome, Submit, Task
from marsbench.execution.executor import open_executor
from marsbench.execution.interrupt import graceful_interruption
from marsbench.locks import is_locked
from marsbench.planning import make_plans
from marsbench.progress import Progress, Silent
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.fold import TunedFold
from marsbench.runner.pipeline_job import PipelineJob, runs_of
from marsbench.runner.resources import Resources
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
        place = Resources(plans[0].corpus, plans[0].folders, experiment, executor, progress, stop, stack)
        Driver(place, TimeBudget(experiment.time_budget)).make(runs, retry_failed)
    return [(ongoing.folder, ongoing.record) for ongoing in runs]


@dataclass
class Driver:
    """Makes runs at one place."""

    place: Resources
    budget: TimeBudget
    spaces: dict[RunFolder, SearchSpace | Failure] = field(default_factory=dict)

    def make(self, runs: list[PipelineJob], retry_failed: bool = False) -> None:
        """Finish every run, those that another process is making when that has ended."""
        for ongoing in runs:
            ongoing.announce()
        self.place.run([partial(self._prepare, [r for r in runs if r.has_gaps(retry_failed)])])
        while runs := self._make_free(runs, retry_failed):
            runs[0].say("another process is making it; waiting for it")
            while is_locked(runs[0].folder.path):
                self.place.pause()

    def _prepare(self, runs: Sequence[PipelineJob]) -> None:
        """Extract features and find search spaces, so that no run is held up by another's."""
        for recipe in {ongoing.features.key: ongoing.features for ongoing in runs}.values():
            self.place.features_by(recipe)
        for ongoing in runs:
            if ongoing.tuning is not None:
                self._space_of(ongoing)

    def _make_free(self, runs: list[PipelineJob], retry_failed: bool) -> list[PipelineJob]:
        """Make the runs that no other process is making; gives the others."""
        taken: list[PipelineJob] = []

        def make(ongoing: PipelineJob, to_come: Sequence[PipelineJob]) -> None:
            if not ongoing.open(retry_failed):
                taken.append(ongoing)
            elif ongoing.missing:
                self._make(ongoing, to_come)

        try:
            self.place.run(partial(make, ongoing, runs[number:]) for number, ongoing in enumerate(runs))
        finally:
            for ongoing in runs:
                ongoing.release()
        return taken

    def _make(self, ongoing: PipelineJob, to_come: Sequence[PipelineJob]) -> None:
        """Fit the missing folds and record the run; without features or a search space it records why."""
        features = self.place.features_by(ongoing.features)
        if isinstance(features, Failure):
            ongoing.give_up(features)
            return
        folds: list[Callable[[Submit], Outcome]]
        if ongoing.tuning is None:
            folds = [partial(ongoing.fit_untuned, fold, features) for fold in ongoing.missing]
        else:
            space = self._space_of(ongoing)
            if isinstance(space, Failure):
                ongoing.give_up(space)
                return
            n_tuned = sum(run.tuning is not None for run in to_come)
            until = self.budget.share(n_tuned, ongoing.seconds_spent)
            folds = [
                partial(self._tuned(ongoing, fold, space, until).fit, features) for fold in ongoing.missing
            ]
        self.place.side_by_side(
            [
                partial(ongoing.make_fold, number, fold, self.place.submit)
                for number, fold in zip(ongoing.missing, folds, strict=True)
            ]
        )
        ongoing.finish()

    def _tuned(self, ongoing: PipelineJob, fold: int, space: SearchSpace, until: float | None) -> TunedFold:
        """One fold of a tuned run that should be finished at a moment."""
        return ongoing.tuned_fold(
            fold,
            space,
            self.place.features_by,
            time_is_up=lambda seconds: self.budget.is_up(until, seconds + self._seconds_of_folds(ongoing)),
            deadline=self.budget.deadline(until, self._seconds_of_folds(ongoing)),
            workers_see_folder=self.place.executor.sees(ongoing.folder.path),
        )

    def _seconds_of_folds(self, ongoing: PipelineJob) -> float:
        """What fitting the run's missing folds takes once tuning is done."""
        return ceil(len(ongoing.missing) / max(1, self.place.executor.slots)) * ongoing.seconds_a_fold

    def _space_of(self, ongoing: PipelineJob) -> SearchSpace | Failure:
        """What a tuner may vary of the run's pipeline; a worker is asked once."""
        if ongoing.folder not in self.spaces:
            self.spaces[ongoing.folder] = self._explore(ongoing)
        return self.spaces[ongoing.folder]

    def _explore(self, ongoing: PipelineJob) -> SearchSpace | Failure:
        features = self.place.features_by(ongoing.features)
        if isinstance(features, Failure):
            return features
        task = Task(f"{ongoing.name}, search space", ongoing.exploration(features.input_shape))
        space: SearchSpace | Failure = self.place.submit(task).value
        return space
