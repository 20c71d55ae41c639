"""One run while it is made: what of it is finished, what is missing, and its folder, held by one process."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial

from filelock import FileLock

from marsbench.evaluation.unit import Unit, fit_unit, fit_version
from marsbench.evaluation.unit_result import Failure, UnitResult
from marsbench.execution.executor import n_workers
from marsbench.execution.task import Outcome, Task
from marsbench.experiment import Experiment
from marsbench.feature_store import FeatureFile
from marsbench.files import derived_seed
from marsbench.locks import try_lock
from marsbench.planning import Pipeline, Plan
from marsbench.plugin.registry import Recipe, holds_plugins
from marsbench.progress import Advance, Progress
from marsbench.protocols import keep_aside
from marsbench.results.predictions import write_predictions
from marsbench.results.schema import Run, RunPlan
from marsbench.results.store import RunFolder
from marsbench.runner.record import pooled, recorded


@dataclass
class OngoingRun:
    """A run of the plan; `open` it, `take` the outcomes of what is `missing`, and it records itself."""

    plan: Plan
    pipeline: Pipeline
    experiment: Experiment
    progress: Progress
    finished: dict[int, UnitResult] = field(default_factory=dict)
    failures: dict[int | None, Failure] = field(default_factory=dict)
    _record: Run | None = None
    _lock: FileLock | None = None
    _bar: Advance | None = None
    _bars: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def folder(self) -> RunFolder:
        """Where it is written."""
        run_id = self.pipeline.run_id(self.plan.protocol, self.experiment.seed, self.experiment.threads)
        return RunFolder(self.experiment.results / self.plan.corpus.name / self.plan.protocol.name / run_id)

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
        self.progress.say(f"{self.pipeline.name}: {line}")

    def announce(self) -> None:
        """Write what is planned, so that `bench status` knows of it before its first unit."""
        self.folder.write_plan(self.planned())

    def has_gaps(self, retry_failed: bool) -> bool:
        """Whether a unit seems to be missing, without opening the run."""
        census = self.folder.census()
        return census.done + (0 if retry_failed else census.failed) < len(self.folds)

    def open(self, retry_failed: bool) -> bool:
        """Take hold of the folder and read what is finished; False if another process has it."""
        self._lock = try_lock(self.folder.path)
        if self._lock is None:
            return False
        self.folder.forget_running()
        if retry_failed:
            self.folder.forget_failures()
        self._read()
        if self.missing:
            name = f"{self.pipeline.name}, folds"
            self._bar = self._bars.enter_context(self.progress.track(name, len(self.missing)))
        else:
            self._finish()
        return True

    def task(self, fold: int, features: FeatureFile) -> Task:
        """The unit of a missing fold."""
        self.folder.mark_running(fold)
        return Task(f"{self.pipeline.name}, fold {fold + 1}", partial(fit_unit, self._unit(fold, features)))

    def take(self, fold: int, outcome: Outcome) -> None:
        """Write what came of a unit; the run is recorded with its last one.

        Raises:
            StorageError: it cannot be written, or the folder is gone.
        """
        self.folder.forget_running(fold)
        log = self.folder.write_log(fold, outcome.log) if outcome.log.strip() else None
        if isinstance(outcome.value, Failure):
            self.failures[fold] = outcome.value.model_copy(update={"fold": fold, "log": log})
            self.folder.write_failure(self.failures[fold])
        else:
            self.finished[fold] = outcome.value
            self.folder.write_unit(outcome.value)
        if self._bar is not None:
            self._bar(1)
        if not self.missing:
            self._finish()

    def give_up(self, failure: Failure) -> None:
        """There are no features: no unit can be fitted. Not kept as a unit's failure: a rerun tries again."""
        self.failures[None] = failure
        self._finish()

    def release(self) -> None:
        """Let go of the folder."""
        self._bars.close()
        if self._lock is not None:
            self.folder.forget_running()
            self._lock.release()
            self._lock = None

    def _read(self) -> None:
        n_classes = len(self.plan.corpus.labels)
        for fold, split in enumerate(self.plan.protocol.folds):
            if result := self.folder.unit(fold, (len(split.test), n_classes), self.say):
                self.finished[fold] = result
            elif failed := self.folder.failure(fold, self.say):
                self.failures[fold] = failed
        if self.finished:
            self.say(f"{len(self.finished)} of {len(self.folds)} folds are finished already")
        if self.failures:
            self.say(f"{len(self.failures)} fold(s) failed earlier; bench retry --failed tries them again")

    def _finish(self) -> None:
        self._bars.close()
        self._record = recorded(self.plan, self.pipeline, self.experiment, self.finished, self.failures)
        if self._record.metrics is not None:
            write_predictions(self.folder.predictions, self.plan.corpus, *pooled(self.plan, self.finished))
        self.folder.write_run(self._record)
        self.finished.clear()  # a large grid's probabilities are too much to keep
        self.release()

    def _unit(self, fold: int, features: FeatureFile) -> Unit:
        split = self.plan.protocol.folds[fold]
        targets = self.plan.corpus.targets
        seed = derived_seed(self.experiment.seed, fold)
        train, validation = split.train, split.train[:0]
        if self.pipeline.wants_validation:
            train, validation = keep_aside(self.plan.corpus, split.train, self.plan.protocol.by_speaker, seed)
        return Unit(
            fold=fold,
            features=features,
            model=self.pipeline.model,
            hyperparameters=self.pipeline.hyperparameters,
            folders=self.plan.folders,
            n_classes=len(self.plan.corpus.labels),
            train=tuple(train.tolist()),
            train_targets=tuple(targets[train].tolist()),
            validation=tuple(validation.tolist()),
            validation_targets=tuple(targets[validation].tolist()),
            test=tuple(split.test.tolist()),
            seed=seed,
            version=fit_version(),
        )

    def planned(self) -> RunPlan:
        """What `plan.json` holds."""
        dataset = self.plan.dataset
        made_by = {f"{dataset.name}.{name}": value for name, value in dataset.parameters.items()}
        alone = self.experiment.model_copy(
            update={
                "features": [self.pipeline.features.name],
                "model": [self.pipeline.model.name],
                "data": dataset.name,
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
        )
