import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.config import Experiment
from marsbench.runner.runner import run

Bench = Callable[..., Any]


@pytest.fixture(scope="module")
def tuned_results(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of results with a tuned run of fakes and the untuned one."""
    folder = tmp_path_factory.mktemp("tuned")
    grid = {"features": "crossings", "model": "knobs", "data": "tones", "plugins": [kit], "trials": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_WORKERS", "0")
        patch.setenv("MARSBENCH_HOME", str(folder / "home"))
        patch.chdir(folder)
        run(Experiment.model_validate(grid))
    return folder / "results"


@pytest.fixture
def tuned(tuned_results: Path) -> str:
    """Id of the tuned run, which is in a copy of the results."""
    shutil.copytree(tuned_results, "results")
    return next(path.parent.parent.name for path in Path("results").rglob("study/fold-0.json"))


def test_the_tuned_and_the_untuned_run_stand_side_by_side(bench: Bench, tuned: str) -> None:
    text = bench("leaderboard", "--explain").stdout
    assert "tuned, 40 trials" in text
    assert "gain +" in text
    assert "optimism " in text
    rows = {row["tuner"]: row for row in json.loads(bench("leaderboard", "--json").stdout)}
    assert rows.keys() == {None, "optuna"}
    assert rows["optuna"]["gain"] == pytest.approx(rows["optuna"]["macro_f1"] - rows[None]["macro_f1"])
    assert rows["optuna"]["run_id"] == tuned
    assert rows[None]["gain"] is None


def test_trials_and_what_mattered_are_shown(bench: Bench, tuned: str) -> None:
    text = bench("show", tuned, "--trials", "--top", "3").stdout
    assert "Tuning by optuna, macro F1 in %" in text
    assert text.count("… and 5 more; --top 0 shows all.") == 5
    assert "untuned" in bench("show", tuned, "--trials", "--top", "0").stdout
    assert "Importance of parameters, %" in text
    assert "knobs.x" in text
    assert "Optuna storage: " in text


def test_trials_can_be_read_by_programs(bench: Bench, tuned: str) -> None:
    studies = json.loads(bench("show", tuned, "--trials", "--json").stdout)
    assert [study["fold"] for study in studies] == [0, 1, 2, 3, 4]
    assert all(len(study["trials"]) == 8 for study in studies)


def test_a_tuned_run_shows_what_was_chosen(bench: Bench, tuned: str) -> None:
    text = bench("show", tuned).stdout
    assert "tuned (40 trials)" in text
    assert "optimism" in text


def test_an_untuned_run_has_no_trials_to_show(bench: Bench, tuned: str) -> None:
    rows = json.loads(bench("leaderboard", "--json").stdout)
    untuned = next(row["run_id"] for row in rows if row["run_id"] != tuned)
    result = bench("show", untuned, "--trials")
    assert result.exit_code == 1
    assert "was not tuned; bench run --trials N tunes" in result.stderr


def test_status_counts_trials(bench: Bench, tuned: str) -> None:
    (state,) = (row for row in json.loads(bench("status", "--json").stdout) if row["run_id"] == tuned)
    assert (state["trials"], state["trials_asked"]) == (40, 40)
    next(Path("results").rglob(f"{tuned}/units/fold-0.json")).unlink()
    assert "tuned, 40 of 40 trials" in " ".join(bench("status").stdout.split())


def test_the_space_of_a_plugin_is_shown_with_its_conditions(bench: Bench, kit: Path) -> None:
    text = bench("plugins", "show", "knobs", "--plugins", kit).stdout
    assert "1 to 4, if kind is deep" in text
    assert "1.0 | 2.0" in bench("plugins", "show", "planted", "--plugins", kit).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", "-1"], "--trials -1: should be"),
        (["--tuner", "grid"], "--tuner grid: unknown tuner 'grid'. Available: keras-tuner, optuna"),
        (["--time-budget", "soon"], "a time such as 90s, 30m, 2h or 1h30m is needed"),
        (["--inner-folds", "0"], "--inner-folds 0: should be"),
        (["--objective", "loss"], "--objective loss: should be"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(bench: Bench, words: list[str], message: str) -> None:
    result = bench("run", "--features", "mfcc", "--model", "svm", *words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
