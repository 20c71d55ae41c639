"""One run while it is made: what of it is finished, what is missing, and its folder, held by one process."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import product
from typing import cast

from filelock import FileLock

from marsbench.config import Experiment, Tuning
from marsbench.evaluation.fit import fit_version
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.execution.base import Outcome, Submit
from marsbench.execution.executor import n_workers
from marsbench.features.store import FeatureFile
from marsbench.hashing import digest
from marsbench.locks import try_lock
from marsbench.planning import Pipeline, Plan
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Recipe, discover, holds_plugins
from marsbench.progress import Advance, Progress
from marsbench.results.plots import plot_history
from marsbench.results.predictions import write_predictions
from marsbench.results.schema import Run, RunPlan
from marsbench.results.store import RunFolder
from marsbench.results.studies import Study
from marsbench.runner.fold import TunedFold, fit_once
from marsbench.runner.record import pooled, recorded
from marsbench.runner.units import Units
from marsbench.tuning.journal import Journal
from marsbench.tuning.search_space import Exploration, SearchSpace


def runs_of(plan: Plan, experiment: Experiment, progress: Progress) -> list["PipelineJob"]:
    """Each pipeline's run without tuning, and behind it the tuned one where that is asked for; for each seed.

    The first tells what tuning gained; where tuning finds nothing better, the second is made of it.
    """
    runs: list[PipelineJob] = []
    for pipeline, repeat in product(plan.pipelines, range(experiment.repeats)):
        alone = experiment.model_copy(update={"seed": experiment.seed + repeat, "repeats": 1})
        runs.append(PipelineJob(plan, pipeline, alone, progress))
        tuning = experiment.tuning(has_epochs=bool(pipeline.rungs))
        if tuning is not None and pipeline.is_tunable:
            runs.append(PipelineJob(plan, pipeline, alone, progress, tuning))
    return runs


@dataclass
class PipelineJob:
    """A run of the plan; `open` it, `take` the outcomes of what is `missing`, and it records itself."""

    plan: Plan
    pipeline: Pipeline
    experiment: Experiment
    progress: Progress
    tuning: Tuning | None = None
    finished: dict[int, UnitResult] = field(default_factory=dict)
    failures: dict[int | None, Failure] = field(default_factory=dict)
    _record: Run | None = None
    _lock: FileLock | None = None
    _opened: float = 0.0
    _bar: Advance | None = None
    _trial_bar: Advance | None = None
    _n_trials: Counter[int] = field(default_factory=Counter)
    """Of each fold's study, as far as this command has kept it."""
    _bars: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def folder(self) -> RunFolder:
        """Where it is written."""
        return self._folder(self.tuning)

    @property
    def untuned_folder(self) -> RunFolder:
        """Where the same pipeline's run without tuning is written."""
        return self._folder(None)

    @property
    def name(self) -> str:
        """As screens show it."""
        seed = f", seed {self.experiment.seed}" if self.experiment.seed else ""
        return f"{self.pipeline.name}{seed}{', tuned' if self.tuning else ''}"

    @property
    def units(self) -> Units:
        """Its fits."""
        return Units.of(self.plan, self.pipeline, self.experiment.seed)

    @property
    def _fit_context(self) -> str:
        """Digest of everything that a fit depends on beside fold, split, configuration and epochs."""
        keys = [self.plan.protocol.hash, self.pipeline.features.key, self.pipeline.model.key]
        by_hand, seed = self.pipeline.hyperparameters, self.experiment.seed
        return digest([*keys, by_hand, seed, self.experiment.threads, fit_version()])

    @property
    def features(self) -> Recipe:
        """What its features are extracted by."""
        return self.pipeline.features

    @property
    def folds(self) -> range:
        """Numbers of the protocol's folds."""
        return range(len(self.plan.protocol.folds))

    @property
    def missing(self) -> list[int]:
        """Folds that have neither a result nor a failure."""
        if self._record is not None:
            return []
        return [fold for fold in self.folds if fold not in self.finished and fold not in self.failures]

    @property
    def record(self) -> Run:
        """The finished run."""
        assert self._record is not None, "asked for before it was complete"  # noqa: S101 - the driver's own order
        return self._record

    def say(self, line: str) -> None:
        """Tell the user something of this run."""
        self.progress.say(f"{self.name}: {line}")

    def announce(self) -> None:
        """Write what is planned, so that `bench status` knows of it before its first unit."""
        self.folder.write_plan(self.planned())

    def has_gaps(self, retry_failed: bool) -> bool:
        """Whether a unit seems to be missing, without opening the run."""
        status_counts = self.folder.status_counts()
        return status_counts.done + (0 if retry_failed else status_counts.failed) < len(self.folds)

    def open(self, retry_failed: bool) -> bool:
        """Take hold of the folder and read what is finished; False if another process has it."""
        self._lock = try_lock(self.folder.path)
        if self._lock is None:
            return False
        self._opened = time.monotonic()
        self.folder.clear_running()
        if retry_failed:
            self.folder.clear_failures()
        self._read()
        if self.missing:
            name = f"{self.name}, folds"
            self._bar = self._bars.enter_context(self.progress.track(name, len(self.missing)))
            if self.tuning is not None and not self.tuning.is_endless:
                n_trials = self.tuning.trials * len(self.missing)
                bar = self.progress.track(f"{self.name}, trials", n_trials)
                self._trial_bar = self._bars.enter_context(bar)
        else:
            self.finish()
        return True

    def task_name(self, fold: int) -> str:
        """Of a fold's work, as screens show it."""
        return f"{self.name}, fold {fold + 1}"

    def make_fold(self, fold: int, fit: Callable[[Submit], Outcome], submit: Callable[..., Outcome]) -> None:
        """Fit a missing fold and write what came of it; it is marked as running while its tasks are."""
        self.take(fold, fit(partial(submit, begin=partial(self.folder.mark_running, fold))))

    def fit_untuned(self, fold: int, features: FeatureFile, submit: Submit) -> Outcome:
        """The one fit of a missing fold of an untuned run."""
        return fit_once(self.task_name(fold), self.units.outer(fold, features), submit)

    def tuned_fold(
        self,
        fold: int,
        space: SearchSpace,
        features_by: Callable[[Recipe], FeatureFile | Failure],
        time_is_up: Callable[[float], bool],
        deadline: float | None,
        workers_see_folder: bool,
    ) -> TunedFold:
        """A missing fold of a tuned run."""
        assert self.tuning is not None, "not a tuned run"  # noqa: S101 - the driver's own order
        return TunedFold(
            name=self.task_name(fold),
            fold=fold,
            units=self.units,
            tuning=self.tuning,
            own=self.folder,
            others=tuple(folder.study for folder in self._other_tuned()),
            untuned=self.untuned_folder,
            context=self._fit_context,
            features_by=features_by,
            space=space,
            time_is_up=time_is_up,
            deadline=deadline,
            workers_see_folder=workers_see_folder,
            keep=partial(self._keep, space),
            say=self.say,
        )

    def exploration(self, input_shape: tuple[int, ...]) -> Exploration:
        """Work that finds its search space; `input_shape` is that of one clip's features."""
        model = self.pipeline.model
        accepts = cast("type[Model]", discover(self.plan.folders).get("models", model.name).plugin).accepts
        return Exploration(
            features=self.features,
            model=model,
            folders=self.plan.folders,
            input_shape=input_shape[-1:] if accepts == "vector" else input_shape,
            n_classes=len(self.plan.corpus.labels),
            by_hand=self.pipeline.hyperparameters,
            pinned=frozenset(self.pipeline.settings),
        )

    @cached_property
    def seconds_spent(self) -> float:
        """What earlier commands took of the time budget."""
        return self.folder.study.seconds_spent

    @cached_property
    def seconds_a_fold(self) -> float:
        """What the untuned run's longest fold took."""
        return max(self.untuned_folder.unit_seconds(), default=0.0)

    def take(self, fold: int, outcome: Outcome) -> None:
        """Write what came of a unit.

        Raises:
            StorageError: it cannot be written, or the folder is gone.
        """
        self.folder.clear_running(fold)
        log = self.folder.write_log(fold, outcome.log) if outcome.log.strip() else None
        if isinstance(outcome.value, Failure):
            self.failures[fold] = outcome.value.model_copy(update={"fold": fold, "log": log})
            self.folder.write_failure(self.failures[fold])
        else:
            self.finished[fold] = outcome.value
            self.folder.write_unit(outcome.value)
        if self._bar is not None:
            self._bar(1)

    def give_up(self, failure: Failure) -> None:
        """There are no features: no unit can be fitted. Not kept as a unit's failure: a rerun tries again."""
        self.failures[None] = failure
        self.finish()

    def release(self) -> None:
        """Let go of the folder."""
        self._bars.close()
        if self._lock is not None:
            self.folder.clear_running()
            self._lock.release()
            self._lock = None

    def _read(self) -> None:
        n_classes = len(self.plan.corpus.labels)
        for fold, split in enumerate(self.plan.protocol.folds):
            if self.tuning is not None and not self.folder.study.has_study(fold):
                continue  # its unit is there perhaps, but not what tuning came to
            if result := self.folder.unit(fold, (len(split.test), n_classes), self.say):
                self.finished[fold] = result
            elif failed := self.folder.failure(fold, self.say):
                self.failures[fold] = failed
        if self.finished:
            self.say(f"{len(self.finished)} of {len(self.folds)} folds are finished already")
        if self.failures:
            self.say(f"{len(self.failures)} fold(s) failed earlier; bench retry --failed tries them again")

    def finish(self) -> None:
        """Record the run and let go of its folder; every fold has a result or a failure."""
        self._bars.close()
        studies = list(self.folder.study.studies()) if self.tuning else []
        self._record = recorded(
            self.plan, self.pipeline, self.experiment, self.finished, self.failures, self.tuning, studies
        )
        if self._record.metrics is not None:
            predictions = pooled(self.plan, self.finished)
            self._record = write_predictions(self.folder, self._record, predictions)
            if self._record.tuning is not None:
                plot_history(studies, self._record.title, self.folder.study.history_plot)
        self.folder.write_run(self._record)
        self.finished.clear()  # a large grid's probabilities are too much to keep
        self.release()

    def _keep(self, space: SearchSpace, study: Study) -> None:
        """Write how far a fold's study is."""
        self.folder.study.write_study(study)
        # A command begins the journal anew: the other folds' studies of earlier ones belong in it too.
        for kept in [study] if self._n_trials else self.folder.study.studies():
            self._journal.keep(kept, space)
        if self.experiment.time_budget is not None:
            self.folder.study.write_seconds_spent(self.seconds_spent + time.monotonic() - self._opened)
        if self._trial_bar is not None:
            self._trial_bar(len(study.trials) - self._n_trials[study.fold])
        self._n_trials[study.fold] = len(study.trials)

    def _other_tuned(self) -> list[RunFolder]:
        """Tuned runs of the same pipeline and seed that were asked for otherwise, with more trials, say."""
        pattern = f"{self.pipeline.features.name}-{self.pipeline.model.name}-s{self.experiment.seed}-*/study"
        found = self.folder.path.parent.glob(pattern)
        return [RunFolder(path.parent) for path in sorted(found) if path.parent != self.folder.path]

    @cached_property
    def _journal(self) -> Journal:
        return Journal(self.folder.study.journal)

    def _folder(self, tuning: Tuning | None) -> RunFolder:
        seed, threads = self.experiment.seed, self.experiment.threads
        run_id = self.pipeline.run_id(self.plan.protocol, seed, threads, tuning)
        return RunFolder(self.experiment.results / self.plan.corpus.name / self.plan.protocol.name / run_id)

    def planned(self) -> RunPlan:
        """What `plan.json` holds."""
        dataset = self.plan.dataset
        made_by = {f"{dataset.name}.{name}": value for name, value in dataset.parameters.items()}
        alone = self.experiment.model_copy(
            update={
                **(_UNTUNED if self.tuning is None else {}),
                "features": [self.pipeline.features.name],
                "model": [self.pipeline.model.name],
                "data": dataset.name,
                "protocol": [self.plan.protocol_word],
                "set": made_by | self.pipeline.settings,
                "plugins": [folder for folder in self.plan.folders if holds_plugins(folder)],
            }
        )
        return RunPlan(
            experiment=alone.model_dump(mode="json", by_alias=True, exclude={"results"}, exclude_none=True),
            features=self.pipeline.features.name,
            model=self.pipeline.model.name,
            settings=self.pipeline.settings,
            seed=self.experiment.seed,
            n_folds=len(self.folds),
            n_clips=len(self.plan.corpus.clips),
            n_units_at_once=max(1, n_workers(self.experiment)),
            planned=datetime.now(UTC).isoformat(timespec="seconds"),
            tuning=self.tuning,
        )


_UNTUNED = {"trials": 0, "tuner": "optuna", "objective": "macro_f1", "inner_folds": None, "time_budget": None}
