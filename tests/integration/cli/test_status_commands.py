import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.atomic_files import at_work, this_process, who_is_at_work
from marsbench.errors import StorageError
from marsbench.features.store import clear_store
from marsbench.runner.job import Job
from marsbench.runner.status import states

Bench = Callable[..., Any]
GRID = ("--features", "crossings,blocks", "--model", "nearest_mean,troubled", "--data", "tones")


@pytest.fixture
def failed(bench: Bench, kit: Path) -> Any:
    """Of two pipelines one complete and one failed."""
    return bench("run", "--features", "crossings", *GRID[2:], "--plugins", kit)


@pytest.fixture
def experiment(kit: Path) -> Path:
    path = Path("grid.toml")
    lines = ('features = ["crossings"]', 'model = ["nearest_mean", "troubled"]', 'data = "tones"')
    path.write_text("\n".join((*lines, f'plugins = ["{kit}"]')))
    return path


def test_status_shows_what_is_not_finished_and_counts_the_rest(bench: Bench, failed: Any) -> None:
    assert failed.exit_code == 1
    shown = bench("status").stdout
    assert "crossings + troubled" in shown
    assert "crossings + nearest_mean" not in shown
    assert "1 run(s) finished, 1 not." in shown
    assert "To retry what failed: bench retry --failed" in shown


def test_status_for_programs_has_every_run(bench: Bench, failed: Any) -> None:
    assert failed.exit_code == 1
    rows = json.loads(bench("status", "--json").stdout)
    counts = {row["model"]: [row[key] for key in ("units", "done", "failed", "to_do")] for row in rows}
    assert counts == {"nearest_mean": [5, 5, 0, 0], "troubled": [5, 0, 5, 0]}


def test_status_where_nothing_ran_says_so(bench: Bench) -> None:
    result = bench("status")
    assert result.exit_code == 1
    assert "no runs in" in result.stderr


def test_a_plan_shows_every_run_of_an_experiment_before_it_starts(bench: Bench, experiment: Path) -> None:
    shown = bench("plan", experiment).stdout
    assert shown.count("0 of 5") == 2
    assert "0 run(s) finished, 2 not." in shown
    assert not Path("results").exists()


def test_a_plan_says_what_is_done_already(bench: Bench, experiment: Path, failed: Any) -> None:
    assert failed.exit_code == 1
    rows = json.loads(bench("plan", experiment, "--json").stdout)
    assert {row["model"]: row["done"] for row in rows} == {"nearest_mean": 5, "troubled": 0}


def test_retry_runs_failed_units_again_and_reports_as_run_does(bench: Bench, failed: Any) -> None:
    assert failed.exit_code == 1
    again = bench("retry", "--failed")
    assert again.exit_code == 1
    assert "FAILED: RuntimeError: no luck today (fold 1, 2, 3, 4, 5)" in again.stdout
    assert "nearest_mean, stratified5" not in again.stdout


@pytest.mark.parametrize("words", [(), ("--failed", "crossings")])
def test_retry_wants_runs_or_all_that_failed(bench: Bench, words: tuple[str, ...]) -> None:
    result = bench("retry", *words)
    assert result.exit_code == 2
    assert "name some runs, or say --failed" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--unit-timeout", "soon"), "a time such as 90s, 30m, 2h or 1h30m is needed"),
        (("--unit-timeout", "0s"), "should be greater than 0"),
        (("--unit-memory", "much"), "a size such as 500MB, 4GB or 2GiB is needed"),
        (("--workers", "-1"), "should be greater than or equal to 0"),
        (("--threads", "0"), "should be greater than or equal to 1"),
        (("--workers", "1", "--cluster", "tcp://127.0.0.1:1"), "--workers and --cluster exclude each other"),
        (("--workers", "0", "--unit-timeout", "9s"), "a unit in this process has no limits"),
    ],
)
def test_limits_and_workers_that_make_no_sense_are_refused_at_once(
    bench: Bench, kit: Path, words: tuple[str, ...], message: str
) -> None:
    result = bench("run", *GRID, "--plugins", kit, *words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not list(Path("results").glob("*"))


def test_a_cluster_that_is_not_there_is_one_line(
    bench: Bench, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.execution.dask_cluster._PATIENCE", 1)
    result = bench("run", *GRID, "--plugins", kit, "--cluster", "tcp://127.0.0.1:1")
    assert result.exit_code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in result.stderr


def test_the_leaderboard_tells_of_runs_that_are_not_finished(bench: Bench, failed: Any) -> None:
    assert failed.exit_code == 1
    (path,) = Path("results").glob("*/*/crossings-troubled*/run.json")
    path.unlink()
    shown = bench("leaderboard")
    assert "left out: 1 run(s) that are not finished; bench status shows them" in shown.stderr
    assert "troubled" not in shown.stdout


def test_many_unreadable_runs_are_told_of_in_few_lines(bench: Bench) -> None:
    for number in range(50):
        path = Path(f"results/tones/stratified5/run-{number}/run.json")
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    lines = bench("leaderboard").stderr.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "left out: 40 more"


RUN = ("--features", "crossings,blocks", "--model", "nearest_mean", "--data", "tones")
STEPS = {
    "planning": (("run", *RUN), "runner.runner.make_plans", "a run"),
    "extraction": (("run", *RUN), "runner.pipeline_job.PipelineJob.prepare", "a run"),
    "fits": (("run", *RUN), "runner.pipeline_job.PipelineJob.fit_missing", "a run"),
    "search": (("search", *RUN, "--time-budget", "10s"), "automl.search.Screening.look", "a search"),
    "weights": (("ensemble", "crossings", "blocks"), "runner.ensemble_job.make_jobs", "an ensemble"),
    "choosing": (("ensemble", "--choose"), "automl.members._contenders", "fits"),
    "export": (("export", "crossings"), "deployment.export.fit_model", "an export"),
}


@pytest.mark.parametrize("step", STEPS)
def test_while_a_command_is_at_work_status_says_so_and_features_are_not_cleared(
    bench: Bench, kit: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    command, name, what = STEPS[step]
    if step in {"weights", "choosing", "export"}:
        bench("run", *RUN, "--trials", "0", "--plugins", kit)
    heard: list[tuple[list[str], list[bool], str]] = []
    where, _, function = f"marsbench.{name}".rpartition(".")
    place = pkgutil.resolve_name(where)
    go_on = getattr(place, function)

    def look_and_go_on(*values: Any, **options: Any) -> Any:
        with pytest.raises(StorageError) as refused:
            clear_store()
        planned = [state.is_live for state in states(Path("results"))[0] if not state.is_finished]
        heard.append((who_is_at_work(Path("results")), planned, str(refused.value)))
        return go_on(*values, **options)

    with monkeypatch.context() as patch:
        patch.setattr(place, function, look_and_go_on)
        bench(*command, "--plugins", kit)
    (line, *_), planned, refusal = heard[0]
    assert line == f"{what}: {this_process()}"
    assert all(planned)
    assert line in refusal
    assert who_is_at_work(Path("results")) == []
    assert bench("cache", "clear").exit_code == 0


def test_a_run_that_nobody_makes_is_told_though_something_else_is_at_work(
    bench: Bench, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Job, "open", interrupted)
        bench("run", *RUN, "--trials", "0", "--plugins", kit)
    assert "No process is running them. Rerun" in bench("status").stdout
    with at_work("a search", Path("results")):
        shown = bench("status").stdout
    assert f"At work: a search: {this_process()}" in shown
