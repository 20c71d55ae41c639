"""From an experiment to finished runs.

One way for data: names -> plugins -> corpus -> protocol (all in `planning`) -> features from the store ->
(a study of each fold ->) units -> out-of-fold probabilities -> run -> leaderboard.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from marsbench.atomic_files import at_work, home, require_writable
from marsbench.config import Experiment, Fusion
from marsbench.errors import ResultsError
from marsbench.execution.base import Called, Executor
from marsbench.execution.executor import open_executor
from marsbench.execution.limits import Clock
from marsbench.planning.plans import make_plans
from marsbench.plugin.registry import drop_in_folders
from marsbench.progress import Progress, Silent
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_run
from marsbench.runner.ensemble_job import fuse_runs
from marsbench.runner.job import make_jobs
from marsbench.runner.one_pass import examiner_for
from marsbench.runner.resources import Resources
from marsbench.runner.status import RunState, states
from marsbench.runner.tuned_job import jobs_of
from marsbench.tuning.engines import require_tunable


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
    with at_work("a run", experiment.results, home()), _started_early(executor, experiment):
        plans = make_plans(
            experiment,
            progress,
            check=partial(require_tunable, experiment),
            examiner=partial(examiner_for, executor),
        )
        jobs = [job for plan in plans for job in jobs_of(plan, experiment, progress)]
        with Resources.opened(experiment, executor, progress) as place:
            make_jobs(jobs, place, Clock(experiment.time_budget or math.inf), retry_failed=retry_failed)
    return [(job.folder, job.record) for job in jobs]


@contextmanager
def _started_early(executor: Executor, experiment: Experiment) -> Iterator[None]:
    """Worker processes that import the models while the corpus is checked.

    Where runs of such a name are there already, they may be finished: then no process may be needed.
    """
    features, models = experiment.features, experiment.model
    folders = drop_in_folders(experiment.plugins)
    try:
        if not any(any(experiment.results.glob(f"*/*/{one}-{two}-*")) for one in features for two in models):
            for model in models:
                executor.start(Called("models", model, folders))
        yield
    finally:
        executor.close()


def retried(
    root: Path, names: Sequence[str] | None, changes: Mapping[str, Any], progress: Progress
) -> list[tuple[RunFolder, Run]]:
    """Run again what failed, or runs of some names, as asked for at first save for `changes`.

    Raises:
        ResultsError: none failed, or one of those named did not.
        BenchError: as `run` does.
    """
    done: list[tuple[RunFolder, Run]] = []
    for state in _failed(root, names):
        at = {"results": str(root)} | dict(changes)
        if state.plan.fusion is not None:
            fusion = Fusion.parse(state.plan.fusion | at, str(state.folder.path))
            done.append(fuse_runs(fusion, progress, retry_failed=True))
        else:
            experiment = Experiment.parse(state.plan.experiment | at, str(state.folder.path))
            done += run(experiment, progress, retry_failed=True)
    return done


def _failed(root: Path, names: Sequence[str] | None) -> list[RunState]:
    failed = {state.folder.path: state for state in states(root)[0] if state.has_failed}
    if names is None and not failed:
        raise ResultsError(f"no failed runs in {root.absolute()}")
    wanted = list(failed) if names is None else [find_run(root, name).path for name in names]
    for path in wanted:
        if path not in failed:
            raise ResultsError(f"{path.name} has no failed unit")
    return [failed[path] for path in wanted]
