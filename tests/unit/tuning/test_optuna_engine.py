"""The study alone, on scores that a test makes up."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.config import Tuning
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.plugin.search_space import Dimension
from marsbench.results.studies import Study
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.engines import StudyRequest
from marsbench.tuning.optuna_engine import search
from marsbench.tuning.search_space import Configuration, SearchSpace

Score = Callable[[float, int, int | None], float]
"""Of x, the inner split and the epoch, None for all of them; NaN for a fit that fails."""
N_INNER = 3
SPACE = SearchSpace((Dimension("m.x", 0.1, low=0.0, high=1.0),))


class Fits:
    """Stands for `CachedFits`."""

    fold = 0

    def __init__(self, score: Score) -> None:
        self.asked: list[tuple[float, int, int | None, int | None]] = []
        self._score = score

    def fit(
        self, configuration: Configuration, inner: int, until: int | None = None, below: int | None = None
    ) -> UnitResult | Failure:
        x = float(configuration["m.x"])
        self.asked.append((x, inner, until, below))
        score = self._score(x, inner, until)
        if np.isnan(score):
            return Failure(kind="TrainingError", message="NaN")
        return UnitResult(
            fold=0,
            probabilities=np.empty((0, 2), np.float32),
            hyperparameters={},
            n_parameters=None,
            history=[{"score": score}],
            warnings=[],
            finished="",
            environment={},
            fit_seconds=1.0,
            predict_seconds=0.0,
        )

    def clear_checkpoints(self) -> None:
        self.forgotten = True


class Made(StudyRequest):
    def score(self, inner: int, result: UnitResult) -> float:  # noqa: ARG002 - made up for this split
        return result.history[0]["score"]


def studied(score: Score, trials: int, rungs: tuple[int, ...] = (), **changes: Any) -> tuple[Study, Fits]:
    fits = Fits(score)
    tuning = Tuning(
        trials=trials, tuner="optuna", objective="accuracy", inner_folds=N_INNER, time_budget=None
    )
    arguments: dict[str, Any] = {
        "tuning": tuning,
        "space": SPACE,
        "fits": cast("CachedFits", fits),
        "targets": [np.zeros(1, np.int64)] * N_INNER,
        "rungs": rungs,
        "seed": 0,
        "pinned": frozenset(),
        "is_late": lambda _seconds: False,
        "deadline": None,
        "workers_see_folder": True,
        "keep": lambda _study: None,
    }
    study = search(Made(**arguments | changes))
    assert isinstance(study, Study)
    return study, fits


def test_a_trial_stops_once_it_cannot_reach_the_best_though_it_were_perfect_from_there() -> None:
    # 0.99 is reached by the first trial; a third of the others is as good on the first split, but not later.
    study, _ = studied(lambda x, inner, _: 0.99 if x == 0.1 or inner == 0 else 0.5, 12)
    stopped = [trial for trial in study.trials if "cannot reach" in (trial.reason or "")]
    assert stopped
    for trial in stopped:
        assert list(trial.steps.values()) == pytest.approx([0.99, 0.745])
        assert trial.reason == "cannot reach 0.9900 any more after inner split 2"


def test_a_trial_that_could_still_reach_the_best_goes_on() -> None:
    study, _ = studied(lambda x, inner, _: 0.6 if x == 0.1 or inner == 0 else 0.3, 8)
    assert not [trial for trial in study.trials if "cannot reach" in (trial.reason or "")]


@given(scores=st.lists(st.floats(0, 1), min_size=8, max_size=8), seed=st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_the_best_is_the_best_of_those_with_all_splits_and_no_bound_cuts_a_better_one(
    scores: list[float], seed: int
) -> None:
    study, _ = studied(lambda x, inner, _: scores[int(7 * x + inner) % 8], 10, seed=seed)
    complete = [trial for trial in study.trials if trial.state == "complete"]
    assert study.best in complete
    assert study.best is not None
    assert all(len(trial.steps) == N_INNER for trial in complete)
    for trial in study.trials:
        if "cannot reach" in (trial.reason or ""):
            x = float(trial.configuration["m.x"])
            whole = np.mean([scores[int(7 * x + inner) % 8] for inner in range(N_INNER)])
            assert whole <= (study.best.score or 0) + 1e-12


def test_rungs_are_climbed_on_the_first_split_and_the_others_fitted_in_one_go() -> None:
    study, fits = studied(lambda x, _inner, until: x * (until or 40) / 40, 7, rungs=(5, 15, 40))
    assert fits.asked[:5] == [
        (0.1, 0, 5, None),
        (0.1, 0, 15, 5),
        (0.1, 0, None, 15),
        (0.1, 1, None, None),
        (0.1, 2, None, None),
    ]
    assert study.trials[0].steps.keys() == {1, 3, 9, 27, 81}
    assert fits.forgotten


@pytest.mark.parametrize("rungs", [(), (5, 15, 40)])
def test_trial_0_is_not_fitted_to_the_end_if_no_other_comes_as_far(rungs: tuple[int, ...]) -> None:
    study, fits = studied(lambda x, *_: 0.9 if x == 0.1 else 0.1, 3, rungs=rungs)
    assert {inner for _, inner, _, _ in fits.asked} == {0}
    assert study.untuned_waits
    assert [trial.state for trial in study.trials] == ["pruned"] * 3
    assert study.best is None
    assert study.trials[0].score == 0.9


@pytest.mark.parametrize("rungs", [(), (5, 15, 40)])
@pytest.mark.parametrize("last", [0.1, 0.99])
def test_trial_0_is_fitted_to_the_end_before_a_trial_that_has_come_as_far(
    rungs: tuple[int, ...], last: float
) -> None:
    study, fits = studied(lambda x, inner, _: last if inner and x != 0.1 else 0.5 + x / 10, 3, rungs=rungs)
    assert [x for x, inner, *_ in fits.asked if inner][:2] == [0.1, 0.1]
    assert study.trials[0].state == "complete"
    assert not study.untuned_waits
    assert study.best is not None
    assert (study.best.number == 0) == (last == 0.1)


@pytest.mark.parametrize("changes", [{"trials": 7}, {"trials": 3, "deadline": 1e12}])
def test_trial_0_is_fitted_to_the_end_where_its_score_or_its_time_is_needed(changes: dict[str, Any]) -> None:
    study, _ = studied(lambda x, *_: 0.9 if x == 0.1 else 0.1, **changes)
    assert study.trials[0].state == "complete"


def test_a_third_of_the_trials_goes_on_from_a_rung() -> None:
    _, fits = studied(lambda x, _inner, until: 1 - abs(x - 0.7) * 40 / (until or 40), 60, rungs=(5, 15, 40))
    counts = [sum(until == rung for _, inner, until, _ in fits.asked if inner == 0) for rung in (5, 15)]
    assert counts[0] == 60
    assert 60 / 6 < counts[1] < 60 / 1.5


def test_a_fit_that_fails_is_the_end_of_its_trial_alone() -> None:
    study, _ = studied(lambda x, _inner, _: float("nan") if x > 0.5 else x, 20)
    failed = [trial for trial in study.trials if trial.state == "failed"]
    assert failed
    assert all(trial.reason == "NaN" and float(trial.configuration["m.x"]) > 0.5 for trial in failed)
    assert study.best is not None


def test_what_the_author_would_try_first_is_tried_first() -> None:
    space = SearchSpace(SPACE.dimensions, ({"m.x": 0.77}, {"m.x": 3.0, "gone": True}))
    study, _ = studied(lambda x, *_: x / 3, 4, space=space)
    assert [trial.configuration for trial in study.trials[:3]] == [{"m.x": 0.1}, {"m.x": 0.77}, {"m.x": 3.0}]


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_trials_end_when_time_is_up_and_the_untuned_configuration_is_always_whole(limit: int) -> None:
    asked: list[float] = []

    def is_up(seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) > limit

    study, _ = studied(lambda x, *_: x, 100, is_late=is_up)
    assert study.ended == "time budget"
    assert study.trials[0].state == "complete"
    assert len(study.trials) < 100
    assert asked[0] == 1.0  # the longest fit so far


@pytest.mark.parametrize("n_few", [6, 10])
def test_the_first_trials_are_the_same_however_many_follow(n_few: int) -> None:
    few, _ = studied(lambda x, *_: 1 - abs(x - 0.7), n_few)
    many, _ = studied(lambda x, *_: 1 - abs(x - 0.7), 25)
    assert [t.configuration for t in many.trials[:n_few]] == [t.configuration for t in few.trials]


def test_the_sampler_learns() -> None:
    study, _ = studied(lambda x, *_: 1 - abs(x - 0.7), 40)
    assert study.best is not None
    assert abs(float(study.best.configuration["m.x"]) - 0.7) < 0.03
