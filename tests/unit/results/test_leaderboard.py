from collections.abc import Callable
from pathlib import Path
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.config import Criteria
from marsbench.errors import ResultsError
from marsbench.report.columns import data_rows
from marsbench.results.leaderboard import leaderboards
from marsbench.results.row import _spread
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]
RESULTS = Path("results")


def test_equal_scores_share_a_rank_and_failed_runs_stand_last_without_one(finished_run: Write) -> None:
    for run_id, score in {"f": None, "d": 0.5, "c": 0.9, "b": 0.9, "a": 0.2, "e": None}.items():
        finished_run(run_id, score)
    (board,), unreadable = leaderboards(RESULTS)
    ranks = [(row.run_id, row.rank) for row in board.rows]
    assert ranks == [("b", 1), ("c", 1), ("d", 3), ("a", 4), ("e", None), ("f", None)]
    assert board.rows[4].reason == "no luck today"
    assert unreadable == []


@pytest.mark.parametrize(
    ("threshold", "outcome", "reached"),
    [(0.3, "pass", True), (0.45, "undecided", True), (0.55, "undecided", False), (0.7, "fail", False)],
)
def test_a_run_is_graded_by_the_criteria_asked_for_not_by_its_own(
    finished_run: Write, threshold: float, outcome: str, reached: bool
) -> None:
    finished_run("a", 0.5)
    asked = Criteria(accuracy=threshold, macro_f1=threshold, class_recall=threshold)
    (told,) = data_rows(leaderboards(RESULTS, criteria=asked)[0])
    assert told["verdict"] == outcome
    assert {told[f"{name}_reached"] for name in ("accuracy", "macro_f1", "class_recall")} == {reached}


def test_a_run_that_was_graded_by_the_criteria_asked_for_keeps_its_verdict(finished_run: Write) -> None:
    finished_run("a", 0.5, verdict="pass")
    (row,) = leaderboards(RESULTS)[0][0].rows
    assert row.verdict == "pass"


@pytest.mark.parametrize(
    ("verdict", "recorded", "shown"),
    [("undecided", 1.0, 0.975), ("undecided", 0.4, 0.4), ("pass", 0.93, 0.975), ("fail", 0.2, 0.025)],
)
def test_p_never_contradicts_the_verdict_whatever_an_older_record_says(
    finished_run: Write, verdict: str, recorded: float, shown: float
) -> None:
    folder = finished_run("a", 0.5, verdict=verdict, pass_confidence=recorded)
    (board,), _ = leaderboards(Path("results"))
    assert board.rows[0].scores["pass_confidence"] == folder.read_run().pass_confidence == shown


def test_of_one_pipelines_runs_the_one_finished_last_stands_for_all(finished_run: Write) -> None:
    finished_run("a", 0.9, settings={}, finished="2026-01-02")
    finished_run("b", 0.5, settings={}, finished="2026-01-01")
    (board,), _ = leaderboards(RESULTS)
    assert ([row.run_id for row in board.rows], board.n_older) == (["a"], 1)
    (board,), _ = leaderboards(RESULTS, older=True)
    assert ([row.run_id for row in board.rows], board.n_older) == (["a", "b"], 0)


def test_what_cannot_be_read_is_left_out_in_one_line_each(finished_run: Write) -> None:
    finished_run("whole", 0.5)
    (finished_run("cut off", 0.5).path / "run.json").write_text("{")
    (RESULTS / "tones" / "stratified5" / "odd" / "run.json").mkdir(parents=True)
    (RESULTS / "tones" / "stratified5" / "begun").mkdir()
    (board,), unreadable = leaderboards(RESULTS)
    assert [row.run_id for row in board.rows] == ["whole"]
    assert [line.partition("/run.json ")[2].partition(":")[0] for line in unreadable] == [
        "is damaged",
        "cannot be read",
    ]


@pytest.mark.parametrize("name", ["/tones", "../results", "tone", "*"])
def test_a_corpus_that_is_not_there_is_answered_with_those_that_are(finished_run: Write, name: str) -> None:
    finished_run("a", 0.5)
    with pytest.raises(ResultsError, match=r"Unknown corpus .*tones"):
        leaderboards(RESULTS, name)


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=24))
def test_the_spread_over_folds_is_their_sample_standard_deviation(values: list[float]) -> None:
    assert _spread(values) == pytest.approx(stdev(values), abs=1e-15)


def test_a_single_fold_has_no_spread() -> None:
    assert _spread([0.5]) is None
