"""Commands on a run whose predictions are damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.results.store import RunFolder, find_runs

Bench = Callable[..., Any]
Write = Callable[..., RunFolder]
REASON = "predictions.parquet is damaged: its checksum is not that in run.json; rerun the command"


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def remove(path: Path) -> None:
    path.unlink()


@pytest.fixture
def damaged(predicted_run: Write) -> RunFolder:
    """Run a, beside run b, which is whole."""
    predicted_run("b", {1, 2})
    folder = predicted_run("a", {0})
    flip(folder.predictions)
    return folder


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize("words", ["compare a b", "compare b a", "ensemble a b --equal", "ensemble b a"])
def test_what_needs_the_predictions_ends_with_one_line(bench: Bench, words: str) -> None:
    result = bench(*words.split())
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert REASON in result.stderr
    assert not list(Path("results").rglob("ensemble-*"))


@pytest.mark.parametrize("words", ["report", "report a"])
def test_a_report_tells_the_scores_that_the_run_recorded_and_one_line(
    bench: Bench, damaged: RunFolder, words: str
) -> None:
    metrics = damaged.read_run().metrics
    assert metrics is not None
    assert bench(*words.split()).exit_code == 0
    page = Path("report.html").read_text()
    assert REASON in page
    assert f"{100 * metrics['accuracy'].value:.1f}" in page


@pytest.mark.usefixtures("damaged")
def test_a_leaderboard_shows_the_scores_that_the_run_recorded(bench: Bench) -> None:
    result = bench("leaderboard")
    assert result.stderr.count(REASON) == 1
    assert result.exit_code == 0
    assert "99.6" in result.stdout


@pytest.mark.parametrize("damage", [flip, cut, remove])
def test_the_same_command_writes_them_anew_without_a_fit(
    bench: Bench, kit: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ("--features=crossings", "--model=nearest_mean,majority", "--data=tones", "--plugins", kit)
    bench("run", *grid)
    ids = [folder.path.name for folder in find_runs(Path("results"))]
    fuse = ("ensemble", *ids, "--equal")
    bench(*fuse)
    before = {folder.predictions: folder.predictions.read_bytes() for folder in find_runs(Path("results"))}
    assert len(before) == 3
    for path in before:
        damage(path)
    monkeypatch.setattr("marsbench.evaluation.fit.fit_and_predict", lambda *_: pytest.fail("fitted again"))
    assert bench("run", *grid).exit_code == 0
    assert bench(*fuse).exit_code == 0
    assert {path: path.read_bytes() for path in before} == before
    assert bench("compare", *ids).exit_code == 0


@pytest.mark.parametrize("words", ["report", "report b"])
def test_a_report_says_on_the_terminal_which_runs_it_leaves_out(
    bench: Bench, damaged: RunFolder, words: str
) -> None:
    flip(damaged.path / "run.json")
    result = bench(*words.split())
    assert result.exit_code == 0
    assert "left out: " in result.stderr
    assert "a/run.json is damaged: its checksum does not match" in result.stderr.replace("\n", "")
