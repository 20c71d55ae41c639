"""Units that failed, tried again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from marsbench.config import Experiment, Fusion
from marsbench.errors import ResultsError
from marsbench.progress import Progress
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_run
from marsbench.runner.ensemble_job import fuse_runs
from marsbench.runner.runner import run
from marsbench.runner.status import RunState, states


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
    failed = [state for state in states(root)[0] if state.has_failed]
    if names is None:
        if not failed:
            raise ResultsError(f"no failed runs in {root.absolute()}")
        return failed
    by_path = {state.folder.path: state for state in failed}
    return list(_chosen(by_path, [find_run(root, name) for name in names]))


def _chosen(failed: Mapping[Path, RunState], wanted: Sequence[RunFolder]) -> Iterator[RunState]:
    for folder in wanted:
        if folder.path not in failed:
            raise ResultsError(f"{folder.path.name} has no failed unit")
        yield failed[folder.path]
