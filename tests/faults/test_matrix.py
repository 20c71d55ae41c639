"""One grid of models that go wrong in every way: each is what it should be, and none disturbs another."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Bench = Callable[..., Any]
Places = Callable[..., Any]

FAILING = {
    "hangs": ("TimeLimit", "stopped at its time limit of 20 s"),
    "segfault": ("WorkerDied", "the worker process was killed by SIGSEGV, twice"),
    "exit": ("WorkerDied", "the worker process ended itself with exit status 7, twice"),
    "leaves": ("SystemExit", "SystemExit: 3"),
    "raises": ("RuntimeError", "RuntimeError: no luck today"),
    "memory": ("MemoryLimit", r"stopped because it took \d\.\d\d GB, the limit is 0\.40 GB"),
    "nan": ("TrainingError", "nan_ gave NaN or infinite probabilities"),
    "shape": ("TrainingError", r"shape_ gave probabilities of shape \(6, 2\); \(6, 3\) is needed"),
    "writes": ("TrainingError", "writes_ gave NaN or infinite probabilities"),  # it has spoilt its own input
}
ENDURED = ("nothing", "prints", "threads", "killed")
WAYS = (*FAILING, *ENDURED)
"""A model each: `segfault_` and so on. What is `killed` is killed only once."""
COMMAND = "run --features crossings --data tones --protocol holdout80"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, new_place: Places, kit: Path) -> Any:
    """A place in which all have been run together with a model that is well."""
    place = new_place(tmp_path_factory.mktemp("grid"))
    for way in WAYS:
        write_model(place.folder, kit, way)
    models = ",".join([*(f"{way}_" for way in WAYS), "nearest_mean"])
    place.run(f"{COMMAND} --model {models} --workers 2 --unit-timeout 20s --unit-memory 400MB")
    return place


def write_model(folder: Path, kit: Path, way: str) -> None:
    """Write a copy of a fake that goes that way without being told."""
    name, usual = ("troubled", "raises") if way in {"nan", "shape"} else ("unruly", "nothing")
    source = (kit / "models" / f"{name}.py").read_text().replace(f': str = "{usual}"', f': str = "{way}"')
    if way == "killed":
        source = source.replace('marker: str = ""', f'marker: str = "{folder / "killed"}"')
    path = folder / "plugins" / "models" / f"{way}_.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


def folder_of(grid: Any, way: str) -> Path:
    """Folder of the run of that model."""
    folder: Path = next(grid.results.glob(f"*/*/crossings-{way}_-s0-*"))
    return folder


def predictions_of(grid: Any, way: str) -> pd.DataFrame:
    return pd.read_parquet(folder_of(grid, way) / "predictions.parquet")


@pytest.mark.parametrize("way", FAILING)
def test_a_unit_that_goes_wrong_is_recorded_with_its_reason(grid: Any, way: str) -> None:
    run = json.loads((folder_of(grid, way) / "run.json").read_text())
    kind, message = FAILING[way]
    assert (run["status"], run["metrics"], len(run["failures"])) == ("failed", None, 1)
    assert run["failures"][0]["kind"] == kind
    assert re.fullmatch(f"{message}.*", run["failures"][0]["message"])
    assert not (folder_of(grid, way) / "predictions.parquet").exists()
    assert re.search(f"FAILED: {message}.*fold 1", grid.begun[0].text)


@pytest.mark.parametrize("way", ENDURED)
def test_a_model_that_only_misbehaves_gives_what_it_would_have_given(grid: Any, way: str) -> None:
    pd.testing.assert_frame_equal(predictions_of(grid, way), predictions_of(grid, "nothing"))


def test_every_other_run_of_the_grid_completes_as_if_it_were_alone(grid: Any, undisturbed: Places) -> None:
    alone = undisturbed(f"{COMMAND} --model nearest_mean --workers 2").predictions()
    assert len(alone) == 1
    assert alone.items() <= grid.predictions().items()


@pytest.mark.parametrize(
    ("way", "line"), [("segfault", "in _WAYS|Fatal Python error"), ("hangs", "in _hangs")]
)
def test_the_log_of_a_unit_that_died_shows_where_it_was(grid: Any, way: str, line: str) -> None:
    run = json.loads((folder_of(grid, way) / "run.json").read_text())
    log = folder_of(grid, way) / run["failures"][0]["log"]
    assert re.search(line, log.read_text())
    assert run["failures"][0]["log"] in grid.begun[0].text


def test_a_log_keeps_the_beginning_and_the_end_of_a_million_lines(grid: Any) -> None:
    log = (folder_of(grid, "prints") / "logs" / "fold-0.log").read_text()
    assert log.startswith("line 0\nline 1\n")
    assert log.endswith("line 999999\n")
    assert len(log) < 200_000


def test_no_worker_process_outlives_the_run(grid: Any) -> None:
    grid.assert_tidy()
    assert grid.begun[0].code == 1


@pytest.fixture
def at_the_grid(grid: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(grid.folder)
    return grid


@pytest.mark.usefixtures("at_the_grid")
def test_the_leaderboard_has_failed_runs_last_with_their_reason_and_no_rank(bench: Bench) -> None:
    rows = json.loads(bench("leaderboard", "--json").stdout)
    n_well = len(WAYS) + 1 - len(FAILING)
    assert [row["rank"] is None for row in rows] == [False] * n_well + [True] * len(FAILING)
    reasons = {row["model"].rstrip("_"): row["reason"] for row in rows[n_well:]}
    assert reasons.keys() == FAILING.keys()
    assert all(re.match(FAILING[way][1], reason) for way, reason in reasons.items())
    assert "the worker process was killed by SIGSEGV, twice" in bench("leaderboard").stdout


@pytest.mark.usefixtures("at_the_grid")
def test_status_counts_failed_units(bench: Bench) -> None:
    rows = json.loads(bench("status", "--json").stdout)
    assert sum(row["failed"] for row in rows) == len(FAILING)
    assert sum(row["done"] for row in rows) == len(WAYS) + 1 - len(FAILING)
    assert "To retry what failed: bench retry --failed" in bench("status").stdout


def test_the_same_command_leaves_failed_units_alone_and_says_so(grid: Any) -> None:
    failures = {path: path.stat().st_mtime_ns for path in grid.results.rglob("*.failed.json")}
    again = grid.run(grid.begun[0].command)
    assert again.code == 1
    line = "crossings + segfault_: 1 fold(s) failed earlier; bench retry --failed tries them again"
    assert line in again.text
    assert {path: path.stat().st_mtime_ns for path in grid.results.rglob("*.failed.json")} == failures


def test_what_failed_is_tried_again_on_request(place: Places) -> None:
    there = place()
    command = "run --features crossings --model unruly --data tones --workers 1 --set unruly.how=raises"
    first = there.run(f"{command} --set unruly.fold=2 --set unruly.marker=mended")
    units = there.units()
    assert (first.code, len(units)) == (1, 4)
    again = there.run("retry --failed --workers 2")
    assert (again.code, len(there.units())) == (0, 5)
    assert units.items() <= there.units().items()
    assert "crossings + unruly: 4 of 5 folds are finished already" in again.text
    assert not [*there.results.rglob("*.failed.json")]


def test_a_retry_may_take_longer(place: Places) -> None:
    there = place()
    command = f"{COMMAND} --model unruly --workers 1 --set unruly.how=sleeps --set unruly.seconds=1.5"
    first = there.run(f"{command} --unit-timeout 1s")
    assert first.code == 1
    assert "FAILED: stopped at its time limit of 1 s" in first.text
    again = there.run("retry --failed --unit-timeout 1m")
    assert again.code == 0, again.text
    assert len(there.units()) == 1
