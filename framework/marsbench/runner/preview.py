"""What running an experiment would find done and have to do."""

from marsbench.experiment import Experiment
from marsbench.planning import make_plans
from marsbench.progress import Progress
from marsbench.runner.ongoing import runs_of
from marsbench.runner.status import RunState, state_of


def planned_states(experiment: Experiment, progress: Progress) -> list[RunState]:
    """What running the experiment would find done and have to do; nothing is written.

    Raises:
        BenchError: what was asked for cannot be planned.
    """
    plans = make_plans(experiment, progress)
    runs = [run for plan in plans for run in runs_of(plan, experiment, progress)]
    return [state_of(ongoing.folder, ongoing.planned()) for ongoing in runs]
