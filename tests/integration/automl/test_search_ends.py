"""Searches in which pipelines fail or time is short: one pipeline always wins."""

import itertools
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from marsbench.automl.costs import Costs
from marsbench.automl.found import Found
from marsbench.automl.selection import Candidate, ScreeningResult
from marsbench.automl.status import searches
from marsbench.automl.successive_halving import Screening
from marsbench.config import Experiment
from marsbench.errors import BenchError
from marsbench.evaluation.fit import Unit, fit_and_predict, fit_unit
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.executor import open_executor
from marsbench.execution.limits import Clock
from marsbench.planning.plans import Plan, make_plans
from marsbench.progress import Silent
from marsbench.results.studies import StudyFolder
from marsbench.runner.resources import Resources

Find = Callable[..., Found]
Spied = list[Unit]


def plan_of(kit: Path, **changes: str) -> Plan:
    asked = {"features": "crossings", "model": "knobs", "data": "tones", "plugins": [kit]}
    return make_plans(Experiment.model_validate(asked | changes), Silent())[0]


class TimeLimit(Exception):  # noqa: N818 - failures are named by it
    """What a fit that reaches its time limit comes to where it has a process of its own."""


Fail = Callable[[str, int, type[Exception]], None]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Let the fits of the first pipelines fail, in a stage of the search."""
    places = {"hold-outs": "tuning.cached_fits.fit_and_predict", "runs": "runner.pipeline_job.fit_unit"}

    def call(stage: str, n_pipelines: int, kind: type[Exception]) -> None:
        fit: Any = {"hold-outs": fit_and_predict, "runs": fit_unit}[stage]
        bad: set[tuple[str, str]] = set()

        def fake(unit: Unit, on_epoch: Any) -> Any:
            name = unit.features.path.parent.name, unit.model.name
            if len(bad) < n_pipelines:
                bad.add(name)
            if name in bad:
                raise kind("no luck today")
            return fit(unit, on_epoch)

        monkeypatch.setattr(f"marsbench.{places[stage]}", fake)

    return call


SIX = {"model": "nearest_mean,majority,knobs", "set": {"knobs.widest": 0.5}}
"""With two extractors."""


@pytest.mark.parametrize("seconds", [0.0, 4.0], ids=["in time", "late"])
@pytest.mark.parametrize("stage", ["hold-outs", "runs"])
def test_a_search_whose_first_five_pipelines_fail_ends_with_the_sixth(
    find: Find, fail: Fail, stage: str, seconds: float
) -> None:
    ticks = itertools.count(step=seconds)  # no time for anything but the first
    fail(stage, 5, RuntimeError)
    found = find(lambda: float(next(ticks)), **SIX)
    assert found.winner[1].metrics is not None
    assert not found.winner[1].failures
    again = find(lambda: float(next(ticks)), **SIX)
    assert again.winner[1] == found.winner[1]


@pytest.mark.parametrize("stage", ["hold-outs", "runs"])
def test_where_every_pipeline_reaches_the_time_limit_of_a_fit_the_limit_is_lifted(
    find: Find, fail: Fail, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lift, lifted = Screening.lift_limits, []

    def lifting(screening: Screening) -> None:
        lift(screening)
        monkeypatch.undo()  # the fits succeed from now on
        lifted.append(screening.place.unopened.longest())

    monkeypatch.setattr(Screening, "lift_limits", lifting)
    fail(stage, 6, TimeLimit)
    found = find(**SIX)
    assert lifted == [math.inf]
    assert found.winner[1].metrics is not None


def test_a_pipeline_that_can_never_be_fitted_is_not_tried_without_a_limit(find: Find, fail: Fail) -> None:
    fail("runs", 6, RuntimeError)
    with pytest.raises(BenchError, match="every finalist's run has failed"):
        find(**SIX)


def test_features_are_extracted_once_a_pipeline_that_is_begun_needs_them(find: Find, home: Path) -> None:
    ticks = itertools.count(step=4.0)
    find(lambda: float(next(ticks)), features="crossings,blocks,planted", model="nearest_mean")
    assert [path.name.rpartition("-")[0] for path in (home / "features").iterdir()] == ["crossings"]


def test_an_extraction_that_is_not_expected_to_end_in_time_does_not_begin(
    find: Find, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Costs, "seconds_to_extract", lambda *_: 1000.0)
    looked = find(features="crossings,blocks", model="nearest_mean").record.looked or ()
    assert [one.reason for one in looked].count("no time left for it") == 1
    assert len(list((home / "features").iterdir())) == 1


def test_extractions_are_expected_to_be_as_slow_as_those_before(kit: Path) -> None:
    slow, slower = (
        Candidate(pipeline, Any, ScreeningResult(features="", model=""))  # type: ignore[arg-type]
        for name in ("mfcc", "librosa_features")
        for pipeline in plan_of(kit, features=name, model="svm").pipelines
    )
    costs = Costs()
    assert costs.seconds_to_extract(slower) == 0
    costs.extracted(slow, 10 * costs.extraction(slow))
    assert costs.seconds_to_extract(slower) == pytest.approx(10 * costs.extraction(slower))


def test_a_pipeline_that_is_clearly_worse_on_its_first_hold_outs_gets_no_others(
    find: Find, fits: Spied
) -> None:
    untuned = {"set": {"nearest_mean.sharpness": 1.0}, "time_budget": 2000}
    record = find(features="crossings", model="nearest_mean,majority", **untuned).record
    (reason,) = (one.reason for one in record.looked or () if one.model == "majority")
    assert reason.startswith("clearly worse than crossings + nearest_mean on ")
    assert [one.model for one in record.held_out or ()] == ["nearest_mean"]
    n_held_out = {
        name: sum(unit.model.name == name for unit in fits) for name in ("nearest_mean", "majority")
    }
    assert n_held_out["majority"] < n_held_out["nearest_mean"] / 2


def cut(*_: object, **_words: object) -> None:
    """Stand in for a stage that is interrupted."""
    raise KeyboardInterrupt


def test_cheap_pipelines_are_looked_at_first(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    look, names = Screening._look, list[str]()

    def looking(screening: Screening, candidate: Candidate, *given: Any) -> None:
        names.append(candidate.name)
        look(screening, candidate, *given)

    monkeypatch.setattr(Screening, "_look", looking)
    monkeypatch.setattr(Screening, "hold_out", cut)
    with pytest.raises(KeyboardInterrupt):
        find(features="crossings,functionals", model="majority,random_forest,pca_lda,nearest_mean")
    assert names[:2] == ["functionals + pca_lda", "functionals + random_forest"]
    assert all("majority" in name for name in names[-2:])


def test_an_extraction_stops_once_it_is_late_and_goes_on_from_there(kit: Path) -> None:
    plan = plan_of(kit)
    recipe, told = plan.pipelines[0].features, [False, True]
    experiment = Experiment(features=["crossings"], model=["knobs"], plugins=[kit])
    with Resources.opened(experiment, open_executor(experiment), Silent()) as place:
        place.is_late = lambda: told.pop(0) if told else False
        found: list[Any] = []
        ask = partial(place.features_of, plan.corpus, plan.folders, None, recipe)
        for _ in range(2):
            place.scheduler.run([lambda: found.append(ask())])
    assert isinstance(found[0], Failure)
    assert found[0].message == "no time left for it"
    assert len(found[1].clips) == len(plan.corpus.clips)


@pytest.mark.parametrize(
    ("elapsed", "is_safe", "longest"), [(10, False, 30), (10, True, 30), (50, True, 10), (99, True, 1)]
)
def test_a_fit_gets_what_its_stage_has_left_once_one_has_succeeded(
    kit: Path, elapsed: int, is_safe: bool, longest: float
) -> None:
    experiment = Experiment(
        features=["crossings"], model=["knobs"], plugins=[kit], workers=1, unit_timeout=30
    )
    with Resources.opened(experiment, open_executor(experiment), Silent()) as place:
        clock = Clock(100, elapsed, lambda: 0.0)
        screening = Screening(plan_of(kit), "macro_f1", place, StudyFolder(Path("study")), clock)
        screening.is_safe = is_safe
        screening.end_at(0.5)
        assert place.executor.longest() == longest


@pytest.mark.parametrize(
    ("stage", "shown"),
    [
        pytest.param("look", "screening", marks=pytest.mark.slow),
        pytest.param("hold_out", "2 pipelines screened", marks=pytest.mark.slow),
        ("hold_out_tuned", "2 held out, 2 chosen for runs, 1 with trials"),
    ],
)
def test_status_tells_of_a_search_that_was_cut_off_and_of_its_end(
    find: Find, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stage: str, shown: str
) -> None:
    asked = {"model": "knobs", "set": {"knobs.widest": 0.5}, "time_budget": 14}
    with monkeypatch.context() as patch:
        patch.setattr(Screening, stage, cut)
        with pytest.raises(KeyboardInterrupt):
            find(**asked)
    (state,), unreadable = searches(Path("results"))
    assert not unreadable
    assert (state.state, shown in state.done) == ("cut off", True), state.done
    said = " ".join(bench("status").stdout.split())
    assert "tones, stratified5 cut off" in said
    assert re.search("To resume: bench search .*--model knobs --data tones --set knobs.widest=0.5", said)
    found = find(**asked)
    (state,), _ = searches(Path("results"))
    assert (state.state, state.done) == ("finished", f"winner {found.winner[1].run_id}")
    assert "To resume" not in bench("status").stdout
