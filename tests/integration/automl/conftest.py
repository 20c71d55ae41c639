"""Searches through fakes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.automl.found import Found
from marsbench.automl.search import search
from marsbench.config import Search
from marsbench.evaluation.fit import Unit, fit_and_predict, fit_unit

Find = Callable[..., Found]
Spied = list[Unit]


@pytest.fixture
def find(kit: Path, monkeypatch: pytest.MonkeyPatch) -> Find:
    """Search among fakes, in time that stands still: too little of it for trials, unless more is given."""
    monkeypatch.setattr("marsbench.results.plots.plot_history", lambda *_: None)  # slower than the search

    def call(now: Callable[[], float] = lambda: 0.0, **changes: Any) -> Found:
        values = {
            "features": "crossings,blocks",
            "model": "nearest_mean",
            "data": "tones",
            "plugins": [kit],
            "time_budget": 10,
        }
        return search(Search.model_validate(values | changes), now=now)

    return call


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Spied:
    """Every fit from now on."""
    seen: Spied = []

    def spy(fit: Callable[..., Any]) -> Callable[..., Any]:
        def call(unit: Unit, on_epoch: Any) -> Any:
            seen.append(unit)
            return fit(unit, on_epoch)

        return call

    monkeypatch.setattr("marsbench.tuning.cached_fits.fit_and_predict", spy(fit_and_predict))
    monkeypatch.setattr("marsbench.runner.pipeline_job.fit_unit", spy(fit_unit))
    return seen
