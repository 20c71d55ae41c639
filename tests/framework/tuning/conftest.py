"""Tuned runs of fakes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.experiment import Experiment
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.driver import run

Tune = Callable[..., tuple[RunFolder, Run]]


USUAL = {"features": "crossings", "model": "knobs", "data": "tones", "trials": 12}


@pytest.fixture(scope="module")
def usual_results(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of results with the run that `tuned` makes where nothing is changed."""
    folder = tmp_path_factory.mktemp("usual")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_WORKERS", "0")
        patch.setenv("MARSBENCH_HOME", str(folder / "home"))
        patch.chdir(folder)
        run(Experiment.model_validate(USUAL | {"plugins": [kit]}))
    return folder / "results"


@pytest.fixture
def tuned(kit: Path, usual_results: Path) -> Tune:
    """Make a tuned run of `knobs` and give it; values of the experiment can be changed.

    Where none is, and there are no results yet, it is a copy of one that was made before.
    """

    def tune(**changes: Any) -> tuple[RunFolder, Run]:
        if not changes and not Path("results").exists():
            shutil.copytree(usual_results, "results")
        values = USUAL | {"plugins": [kit]}
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
