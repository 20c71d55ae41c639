from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from marsbench.atomic_files import try_lock
from marsbench.config import Experiment
from marsbench.errors import ResultsError
from marsbench.evaluation.fit_result import Failure
from marsbench.progress import Silent
from marsbench.results.store import RunFolder, find_planned
from marsbench.runner.runner import retried, run
from marsbench.runner.status import RunState, planned_states, states

RESULTS = Path("results")
Finished = Callable[..., RunFolder]


def asked(kit: Path, **changes: Any) -> Experiment:
    values = {"features": "crossings", "model": "nearest_mean", "data": "tones", "plugins": [kit]}
    return Experiment.model_validate(values | changes)


@pytest.fixture
def finished(kit: Path) -> Finished:
    """Finish a run and give its folder."""

    def finish(**changes: Any) -> RunFolder:
        ((folder, _),) = run(asked(kit, **changes))
        return folder

    return finish


def only() -> RunState:
    (state,) = states(RESULTS)[0]
    return state


def drop_units(folder: RunFolder, *folds: int) -> None:
    """As if these had never ended."""
    for fold in folds:
        (folder.path / "units" / f"fold-{fold}.json").unlink()


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """As another process does that makes the run."""
    lock = try_lock(folder.path)
    assert lock is not None
    yield
    lock.release()


def test_a_finished_run_has_nothing_left(finished: Finished) -> None:
    finished()
    state = only()
    assert (state.is_finished, state.n_to_do, state.seconds_left, state.is_live) == (True, 0, 0.0, False)


def test_missing_units_are_to_do_and_their_time_is_told_by_the_others(finished: Finished) -> None:
    drop_units(finished(), 1, 4)
    state = only()
    assert (state.status_counts.done, state.n_to_do) == (3, 2)
    assert state.unit_seconds is not None
    assert state.seconds_left == 2 * state.unit_seconds


def test_a_new_run_is_timed_by_the_same_pipelines_earlier_one_in_proportion_to_clips(
    finished: Finished, kit: Path
) -> None:
    earlier = finished(seed=1).read_run()
    (state,) = planned_states(asked(kit, set={"tones.n_takes": 4}), Silent())
    a_unit = (earlier.fit_seconds + earlier.predict_seconds) / 5
    assert state.unit_seconds == pytest.approx(2 * a_unit)


def test_a_pipeline_that_never_ran_has_no_estimate(kit: Path) -> None:
    (state,) = planned_states(asked(kit), Silent())
    assert (state.n_to_do, state.seconds_left) == (5, None)


def test_planning_writes_nothing(kit: Path) -> None:
    planned_states(asked(kit), Silent())
    assert not RESULTS.exists()


def test_marks_of_running_units_count_only_while_a_process_holds_the_run(finished: Finished) -> None:
    folder = finished()
    drop_units(folder, 2, 3)
    folder.mark_running(2)
    assert (only().status_counts.running, only().n_to_do) == (0, 2)
    with held(folder):
        assert (only().status_counts.running, only().n_to_do, only().is_live) == (1, 1, True)


def test_a_failed_unit_is_counted_as_failed(finished: Finished) -> None:
    folder = finished()
    drop_units(folder, 0)
    folder.write_failure(Failure(fold=0, kind="X", message="no luck"))
    state = only()
    assert (state.status_counts.failed, state.n_to_do, state.has_failed) == (1, 0, True)


def test_a_damaged_plan_is_named_and_the_other_runs_are_shown(finished: Finished) -> None:
    (finished().path / "plan.json").write_text("{}")
    finished(seed=1)
    found, unreadable = states(RESULTS)
    assert len(found) == 1
    assert "plan.json is damaged" in unreadable[0]


def test_a_run_in_the_making_is_known_before_its_first_unit(
    kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("marsbench.runner.pipeline_job.fit_unit", stop)
    with pytest.raises(KeyboardInterrupt):
        run(asked(kit, features="crossings,blocks"))
    assert [state.n_to_do for state in states(RESULTS)[0]] == [5, 5]


def test_a_plan_alone_makes_the_same_run_again(finished: Finished, tmp_path: Path) -> None:
    folder = finished(set={"tones.n_takes": 3, "crossings.scale": 2.0}, seed=3, protocol="holdout80")
    plan = folder.read_plan()
    elsewhere = Experiment.model_validate(plan.experiment | {"results": tmp_path / "elsewhere"})
    ((again, _),) = run(elsewhere)
    assert again.path.name == folder.path.name
    assert again.read_run().metrics == folder.read_run().metrics


def fail_once(folder: RunFolder, fold: int) -> None:
    drop_units(folder, fold)
    folder.write_failure(Failure(fold=fold, kind="X", message="no luck"))


def test_a_rerun_leaves_failed_units_alone(finished: Finished) -> None:
    folder = finished()
    fail_once(folder, 2)
    assert finished().read_run().failures[0].message == "no luck"


def test_a_retry_tries_failed_units_again_and_only_those(finished: Finished) -> None:
    good, bad = finished(seed=1), finished()
    before = bad.read_run()
    fail_once(bad, 2)
    finished()
    stamp = (bad.path / "units" / "fold-1.json").stat().st_mtime_ns
    ((folder, again),) = retried(RESULTS, None, {}, Silent())
    assert (folder.path.resolve(), again.metrics) == (bad.path.resolve(), before.metrics)
    assert (bad.path / "units" / "fold-1.json").stat().st_mtime_ns == stamp
    assert good.read_run().seed == 1


def test_a_retry_takes_new_limits(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(finished(), 2)
    monkeypatch.delenv("MARSBENCH_WORKERS")
    ((folder, _),) = retried(RESULTS, None, {"workers": 1, "unit-timeout": "1h"}, Silent())
    assert folder.read_plan().experiment["unit-timeout"] == 3600


@pytest.mark.parametrize(
    ("names", "message"), [(None, "no failed runs in"), (["crossings"], "has no failed unit")]
)
def test_a_retry_of_nothing_says_so(finished: Finished, names: list[str] | None, message: str) -> None:
    finished()
    with pytest.raises(ResultsError, match=message):
        retried(RESULTS, names, {}, Silent())


def test_a_failed_extraction_is_tried_again_by_a_rerun_and_by_a_retry(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_disk(*_: object) -> None:
        raise ValueError("no features today")

    with monkeypatch.context() as patch:
        patch.setattr("marsbench.features.store.FeatureStore.features_of", no_disk)
        folder = finished()
    assert folder.read_run().status == "failed"
    assert only().has_failed
    ((_, again),) = retried(RESULTS, None, {}, Silent())
    assert again.status == "complete"
    assert len(list(find_planned(RESULTS))) == 1
