"""How far runs are, and how long the rest may take, from files alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from marsbench.atomic_files import is_locked, who_is_at_work
from marsbench.config import Experiment
from marsbench.errors import ResultsError
from marsbench.planning.plans import make_plans
from marsbench.progress import Progress
from marsbench.results.schema import RunPlan
from marsbench.results.store import RunFolder, StatusCounts, find_planned
from marsbench.runner.tuned_job import jobs_of

_TIMED_RUNS = 5
"""Latest runs of a pipeline that tell how long its units take."""


@dataclass(frozen=True)
class RunState:
    """One planned run and what there is of it."""

    folder: RunFolder
    plan: RunPlan
    status_counts: StatusCounts
    is_live: bool
    """Whether some process is making it now, or has set out to and prepares or makes others first."""
    unit_seconds: float | None
    """What one unit may take, by past timings of the same pipeline; None if there are none."""
    trials: tuple[float, ...] = ()
    """Seconds that each trial took, of a tuned run."""

    @property
    def n_to_do(self) -> int:
        """Units that are neither finished, nor failed, nor under way."""
        return max(0, self.plan.n_folds - sum(self.status_counts))

    @property
    def seconds_left(self) -> float | None:
        """Estimate for what is under way and to do, None if nothing is known."""
        n_open = self.n_to_do + self.status_counts.running
        if not n_open:
            return 0.0
        if self.unit_seconds is None or (self.n_trials_asked and not self.trials):
            return None
        tuning = fmean(self.trials) * (self.n_trials_asked - len(self.trials)) if self.trials else 0.0
        return (tuning + n_open * self.unit_seconds) / self.plan.n_units_at_once

    @property
    def n_trials_asked(self) -> int:
        """Number of trials in all folds; 0 for the untuned run, and where only time ends tuning."""
        tuning = self.plan.tuning
        return 0 if tuning is None or tuning.is_endless else tuning.trials * self.plan.n_folds

    def as_row(self) -> dict[str, object]:
        """What programs read."""
        corpus, protocol, run_id = self.folder.path.parts[-3:]
        return {
            "run_id": run_id,
            "corpus": corpus,
            "protocol": protocol,
            "features": self.plan.features,
            "model": self.plan.model,
            "settings": self.plan.settings,
            "seed": self.plan.seed,
            "units": self.plan.n_folds,
            **self.status_counts._asdict(),
            "to_do": self.n_to_do,
            "trials": len(self.trials),
            "trials_asked": self.n_trials_asked,
            "is_live": self.is_live,
            "seconds_left": self.seconds_left,
        }

    @property
    def has_failed(self) -> bool:
        """Whether a unit failed, or the run ended without its units because there were no features."""
        return self.status_counts.failed > 0 or (self.folder.is_finished and not self.is_finished)

    @property
    def is_finished(self) -> bool:
        """Whether every unit has a result."""
        return self.status_counts.done >= self.plan.n_folds


def states(root: Path, *, may_be_none: bool = False) -> tuple[list[RunState], list[str]]:
    """Every planned run below a results folder, and what could not be read of them.

    Raises:
        ResultsError: there are none, no process is at work there, and not `may_be_none`.
    """
    found: list[RunState] = []
    unreadable: list[str] = []
    working = who_is_at_work(root)
    for folder in find_planned(root):
        try:
            found.append(state_of(folder, folder.read_plan(), working))
        except ResultsError as error:
            unreadable.append(str(error))
    if not (found or unreadable or working or may_be_none):
        raise ResultsError(f"no runs in {root.absolute()}; make one with: bench run")
    return found, unreadable


def state_of(folder: RunFolder, plan: RunPlan, working: Sequence[str] = ()) -> RunState:
    """What there is of a planned run, whose folder need not exist yet; `working`: who is at work there."""
    is_made = is_locked(folder.path)
    is_live = is_made or any(plan.driver and plan.driver in line for line in working)
    status_counts = folder.status_counts()
    if not is_made:
        status_counts = status_counts._replace(running=0)  # marks of a process that is gone
    seconds = (
        _unit_seconds(folder, plan) if status_counts.done + status_counts.failed < plan.n_folds else None
    )
    studies = folder.study.studies() if plan.tuning else ()
    trials = tuple(trial.seconds for study in studies for trial in study.trials)
    return RunState(folder, plan, status_counts, is_live, seconds, trials)


def _unit_seconds(folder: RunFolder, plan: RunPlan) -> float | None:
    """Median seconds of this run's units, else of the pipeline's latest runs, scaled by number of clips."""
    if own := list(folder.unit_seconds()):
        return median(own)
    pattern = f"*/*/{plan.features}-{plan.model}-s*/run.json"
    latest = sorted(folder.path.parents[2].glob(pattern), key=lambda path: path.stat().st_mtime)[
        -_TIMED_RUNS:
    ]
    by_clip = list(_seconds_a_clip(latest))
    return median(by_clip) * plan.n_clips if by_clip else None


def _seconds_a_clip(paths: Iterable[Path]) -> Iterator[float]:
    for path in paths:
        try:
            run = RunFolder(path.parent).read_run()
        except ResultsError:
            continue  # the leaderboard tells of it
        if n_units := len(run.hyperparameters):
            yield (run.fit_seconds + run.predict_seconds) / n_units / run.corpus.n_clips


def planned_states(experiment: Experiment, progress: Progress) -> list[RunState]:
    """What running the experiment would find done and have to do; nothing is written.

    Raises:
        BenchError: what was asked for cannot be planned.
    """
    plans = make_plans(experiment, progress)
    jobs = [job for plan in plans for job in jobs_of(plan, experiment, progress)]
    return [state_of(job.folder, job.planned()) for job in jobs]
