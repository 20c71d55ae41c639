"""Jobs make runs. A job holds the lock of the run's folder and knows which folds are finished or missing."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from filelock import FileLock

from marsbench.atomic_files import this_process, try_lock, wait_until_free
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.predictions import Predictions
from marsbench.execution.base import Outcome, Submit
from marsbench.execution.limits import Clock
from marsbench.progress import Advance, Progress, phase
from marsbench.results.predictions import write_predictions
from marsbench.results.schema import Run, RunPlan
from marsbench.results.store import RunFolder
from marsbench.runner.resources import Resources


def make_jobs(
    jobs: Sequence["Job"], place: Resources, clock: Clock | None = None, *, retry_failed: bool = False
) -> None:
    """Finish every run; wait for those that another process is making.

    Args:
        jobs: the runs to make.
        place: where their tasks run.
        clock: the time that all of them together may take.
        retry_failed: whether to repeat fits that failed earlier.
    """
    pipelines = list(dict.fromkeys(job.pipeline_name for job in jobs))
    for job in jobs:
        if len(pipelines) > 1:
            job.position = f"pipeline {pipelines.index(job.pipeline_name) + 1} of {len(pipelines)}: "
        job.announce()
    gaps = [job for job in jobs if job.has_gaps(retry_failed)]

    def prepare() -> None:
        for job in gaps:
            job.prepare(place)

    place.scheduler.run([prepare])  # first, so that no run waits for features of another
    while jobs := _make_free(jobs, place, clock or Clock(), retry_failed):
        why = f"{jobs[0].name}: another process is making it"
        wait_until_free(jobs[0].folder.path, why, place.progress, place.pause)


def _make_free(jobs: Sequence["Job"], place: Resources, clock: Clock, retry_failed: bool) -> list["Job"]:
    """Make the runs that no other process is making; returns the others."""
    taken: list[Job] = []

    def make(job: Job, to_come: Sequence[Job]) -> None:
        if job.open(retry_failed):
            job.make(place, clock.part(sum(one.is_timed for one in to_come), job.seconds_spent))
        else:
            taken.append(job)

    try:
        place.scheduler.run(partial(make, job, jobs[number:]) for number, job in enumerate(jobs))
    finally:
        for job in jobs:
            job.release()
    return taken


class Job(ABC):
    """Makes one run."""

    is_timed = False
    """Whether it consumes a time budget."""
    position = ""
    """Words before the name in progress bars: which of several pipelines it is of."""
    seconds_spent = 0.0
    """Seconds of the time budget that earlier commands spent on it."""
    clock: Clock
    """Time that it may take, once it is made; it cuts trials, never folds."""

    def __init__(
        self, folder: RunFolder, name: str, shapes: Sequence[tuple[int, int]], progress: Progress
    ) -> None:
        """Write nothing yet.

        Args:
            folder: where the run is written.
            name: name for messages and progress bars.
            shapes: shape of the probabilities of each fold, (n_clips, n_classes).
            progress: shows messages and bars.
        """
        self.folder = folder
        self.name = name
        self.finished: dict[int, UnitResult] = {}
        self.failures: dict[int | None, Failure] = {}
        self.shapes = shapes
        self._progress = progress
        self._bars = ExitStack()
        self._lock: FileLock | None = None
        self._record: Run | None = None

    @abstractmethod
    def planned(self) -> RunPlan:
        """What `plan.json` holds."""

    def prepare(self, place: Resources) -> None:  # noqa: B027 - not every run needs anything
        """Compute what the fits need, such as features; called before any run is made."""

    @abstractmethod
    def fit_missing(self, place: Resources) -> None:
        """Fit the missing folds and `take` the outcome of each, or `give_up`."""

    @abstractmethod
    def predictions(self) -> Predictions:
        """The out-of-fold predictions; every fold is finished."""

    @abstractmethod
    def build_record(self, predictions: Predictions | None) -> Run:
        """The run with its scores, or without them where a fold has failed."""

    @property
    def pipeline_name(self) -> str:
        """Equal for tuned and untuned runs and all seeds of one pipeline."""
        return self.name

    @property
    def folds(self) -> range:
        """Numbers of the protocol's folds."""
        return range(len(self.shapes))

    @property
    def missing(self) -> list[int]:
        """Folds that have neither a result nor a failure."""
        return [fold for fold in self.folds if fold not in self.finished and fold not in self.failures]

    @property
    def record(self) -> Run:
        """The finished run."""
        assert self._record is not None, "asked for before it was complete"  # noqa: S101 - the order of `make_jobs`
        return self._record

    def say(self, line: str) -> None:
        """Print a line about this run."""
        self._progress.say(f"{self.name}: {line}")

    def announce(self) -> None:
        """Write what is planned, so that `bench status` knows of it before its first fit."""
        self.folder.write_plan(self.planned().model_copy(update={"driver": this_process()}))

    def has_gaps(self, retry_failed: bool) -> bool:
        """Whether a fold seems to be missing, by file names alone."""
        counts = self.folder.status_counts()
        return counts.done + (0 if retry_failed else counts.failed) < len(self.folds)

    def open(self, retry_failed: bool) -> bool:
        """Lock the folder and read what is finished; False if another process holds the lock."""
        self._lock = try_lock(self.folder.path)
        if self._lock is None:
            return False
        self.folder.clear_running()
        if retry_failed:
            self.folder.clear_failures()
        for fold in self.folds:
            self._read(fold)
        if self.finished:
            self.say(f"{len(self.finished)} of {len(self.folds)} folds are finished already")
        if self.failures:
            self.say(f"{len(self.failures)} fold(s) failed earlier; bench retry --failed tries them again")
        return True

    def _read(self, fold: int) -> None:
        if result := self.folder.unit(fold, self.shapes[fold], self.say):
            self.finished[fold] = result
        elif failed := self.folder.failure(fold, self.say):
            self.failures[fold] = failed

    def make(self, place: Resources, clock: Clock) -> None:
        """Fit what is missing, write the run and release the folder's lock.

        Raises:
            StorageError: something cannot be written, or the folder is gone.
            Stopped: after Ctrl-C.
        """
        self.clock = clock
        if self.missing:
            with phase("folds"):
                self.fit_missing(place)
        self._bars.close()
        self._finish()
        self.release()

    def submit_at(self, place: Resources, fold: int) -> Submit:
        """Runs tasks of a fold; the fold is marked as running when its task begins."""
        return partial(place.submit, begin=partial(self.folder.mark_running, fold))

    def show(self, label: str, total: int) -> Advance:
        """Open a progress bar that closes when the run is made."""
        return self._bars.enter_context(self._progress.track(f"{self.position}{label}", total))

    def take(self, fold: int, outcome: Outcome) -> None:
        """Write the outcome of a fold, a `UnitResult` or a `Failure`."""
        self.folder.clear_running(fold)
        log = self.folder.write_log(fold, outcome.log) if outcome.log.strip() else None
        if isinstance(outcome.value, Failure):
            self.failures[fold] = outcome.value.model_copy(update={"fold": fold, "log": log})
            self.folder.write_failure(self.failures[fold])
        else:
            self.finished[fold] = outcome.value
            self.folder.write_unit(outcome.value)

    def give_up(self, failure: Failure) -> None:
        """No fold can be fitted. Not written as a failure of the folds, so that a rerun tries again."""
        self.failures[None] = failure

    def _finish(self) -> None:
        with phase("scoring"):
            predictions = self.predictions() if len(self.finished) == len(self.folds) else None
            record = self.build_record(predictions)
        with phase("writing"):
            if predictions is not None:
                record = write_predictions(self.folder, record, predictions)
            self.folder.write_run(record)
        self._record = record
        self.finished.clear()  # a large grid's probabilities are too much to keep

    def release(self) -> None:
        """Release the folder's lock."""
        self._bars.close()
        if self._lock is not None:
            self.folder.clear_running()
            self._lock.release()
            self._lock = None
