"""Names of runs and fits: another one whenever anything differs that could change a result."""

from dataclasses import replace
from typing import Any

import pytest

from marsbench.config import Tuning
from marsbench.plugin.registry import Recipe
from marsbench.results.keys import PipelineKey, ensemble_id, fit_name, search_id

FEATURES, MODEL = Recipe("mfcc", {"n": 40}, "a", {}), Recipe("svm", {}, "b", {})
KEY = PipelineKey("hash", FEATURES, MODEL, {"C": 1.0}, 0, 1)
OTHERS: list[dict[str, Any]] = [
    {"protocol": "another"},
    {"features": replace(FEATURES, parameters={"n": 20})},
    {"model": replace(MODEL, source="c")},
    {"hyperparameters": {}},
    {"seed": 1},
    {"threads": 2},
]


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: str(*change))
def test_whatever_decides_a_fit_is_in_every_key(change: dict[str, Any]) -> None:
    other = replace(KEY, **change)
    assert other.run_id() != KEY.run_id()
    assert other.tuning_fits != KEY.tuning_fits
    assert other.holdout_fits != KEY.holdout_fits
    assert other.screening_fits != KEY.screening_fits


def test_fits_for_different_purposes_have_different_keys() -> None:
    assert len({KEY.tuning_fits, KEY.holdout_fits, KEY.screening_fits}) == 3


def test_a_run_is_named_by_pipeline_seed_and_digest() -> None:
    assert KEY.run_id().startswith("mfcc-svm-s0-")
    tunings = [
        Tuning(trials=trials, tuner="optuna", objective="accuracy", inner_folds=1, time_budget=None)
        for trials in (3, 4)
    ]
    assert len({KEY.run_id(), *map(KEY.run_id, tunings)}) == 3


@pytest.mark.parametrize("position", range(6))
def test_whatever_decides_an_inner_fit_is_in_its_name(position: int) -> None:
    usual: list[Any] = ["key", 0, 0, 3, {"svm.C": 1.0}, None]
    other: list[Any] = ["yek", 1, 1, 2, {"svm.C": 2.0}, 5]
    changed = [*usual[:position], other[position], *usual[position + 1 :]]
    assert fit_name(*usual) != fit_name(*changed)


def test_ensembles_and_searches_are_named_by_what_they_are_made_of() -> None:
    ensembles = [
        ensemble_id("hash", "ensemble-mean", ids, inner) for ids in (["a"], ["a", "b"]) for inner in (0, 1)
    ]
    pipelines = [(FEATURES, MODEL, {"C": 1.0})]
    searches = [
        search_id("hash", some, asked) for some in (pipelines, []) for asked in ({}, {"time_budget": 5})
    ]
    assert len({*ensembles, *searches}) == 8
