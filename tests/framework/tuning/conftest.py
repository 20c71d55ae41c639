"""Tuned runs of fakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.experiment import Experiment
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.driver import run

Tune = Callable[..., tuple[RunFolder, Run]]


@pytest.fixture
def tuned(kit: Path) -> Tune:
    """Make a tuned run of `knobs` and give it; values of the experiment can be changed."""

    def tune(**changes: Any) -> tuple[RunFolder, Run]:
        values = {"features": "crossings", "model": "knobs", "data": "tones", "plugins": [kit], "trials": 12}
        settings = {f"knobs.{name}": value for name, value in changes.pop("knobs", {}).items()}
        values["set"] = settings | changes.pop("set", {})
        return run(Experiment.model_validate(values | changes))[-1]

    return tune


@pytest.fixture
def fits(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """Every fit of `knobs` so far whose log is `fits.log`."""

    def read() -> list[dict[str, Any]]:
        path = tmp_path / "fits.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read
