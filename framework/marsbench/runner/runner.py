"""From an experiment to finished runs.

One way for data: names -> plugins -> corpus -> protocol (all in `planning`) -> features from the store ->
(a study of each fold ->) units -> out-of-fold probabilities -> run -> leaderboard.
"""

import math
from functools import partial

from marsbench.atomic_files import require_writable
from marsbench.config import Experiment
from marsbench.execution.clock import Clock
from marsbench.execution.executor import open_executor
from marsbench.planning import make_plans
from marsbench.progress import Progress, Silent
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.job import make_jobs
from marsbench.runner.resources import Resources
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
    plans = make_plans(experiment, progress, check=partial(require_tunable, experiment))
    jobs = [job for plan in plans for job in jobs_of(plan, experiment, progress)]
    with Resources.opened(experiment, executor, progress) as place:
        make_jobs(jobs, place, Clock(experiment.time_budget or math.inf), retry_failed=retry_failed)
    return [(job.folder, job.record) for job in jobs]
