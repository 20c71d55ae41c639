"""Pages that show boards of published runs show them as they are."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from marsbench.errors import ResultsError
from marsbench.evaluation.scoring import score_predictions
from marsbench.results.leaderboard import Board, leaderboards
from marsbench.results.predictions import read_predictions
from marsbench.results.store import RunFolder

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "results" / "reference" / "refresh.py"))
OPENING = "<!-- board: ravdess stratified5 top 2 -->"
CLOSING = "<!-- /board -->"


@pytest.fixture(scope="module")
def boards() -> list[Board]:
    return leaderboards(SCRIPT["RESULTS"])[0]


def refreshed(text: str, boards: Any) -> str:
    return str(SCRIPT["refreshed"](text, boards))


@pytest.mark.parametrize(
    "board", ["ravdess/speaker5", "ravdess/stratified5", "ravdess-speech/emobox6", "ravdess-speech/luna5"]
)
def test_intervals_of_published_runs_are_those_that_are_computed_today(board: str) -> None:
    folder = RunFolder(next((SCRIPT["RESULTS"] / board).glob("*/run.json")).parent)
    run = folder.read_run()
    today = score_predictions(read_predictions(folder, run))
    assert run.metrics is not None
    assert today.scores == run.metrics.scores
    assert [one.recall for one in today.classes] == [one.recall for one in run.metrics.classes]
    assert {one.n_speakers for one in today.classes} == {24}


@pytest.mark.parametrize("page", SCRIPT["PAGES"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_boards_of_a_page_are_those_of_its_runs(page: Path, boards: list[Board]) -> None:
    text = page.read_text("utf-8")
    assert refreshed(text, boards) == text, "run: python results/reference/refresh.py"


def test_the_page_beside_the_runs_shows_every_board(boards: list[Board]) -> None:
    text = (SCRIPT["RESULTS"] / "README.md").read_text("utf-8")
    assert all(f"<!-- board: {board.corpus} {board.protocol} top 0 -->" in text for board in boards)


def test_what_stands_between_the_markers_is_replaced_and_nothing_else(boards: list[Board]) -> None:
    page = refreshed(f"before\n{OPENING}\nstale\n{CLOSING}\nbehind\n", boards)
    assert page.startswith(f"before\n{OPENING}\n\n**ravdess, stratified5**")
    assert page.endswith(f"\n\n{CLOSING}\nbehind\n")
    assert "stale" not in page
    assert page.count("\n| ") == 4
    assert refreshed(page, boards) == page


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (OPENING.replace("ravdess", "ravdes") + f"\n{CLOSING}", "Unknown board"),
        (f"{OPENING}\n{OPENING}\n{CLOSING}", "has no <!-- /board --> behind it"),
        (f"{OPENING}\n", "later <!-- /board -->"),
        (f"{OPENING.replace(' top 2', '')}\n{CLOSING}", "write <!-- board: CORPUS PROTOCOL top N -->"),
    ],
)
def test_a_marker_that_is_wrong_is_told(page: str, message: str, boards: list[Board]) -> None:
    with pytest.raises(ResultsError, match=message):
        refreshed(page, boards)
