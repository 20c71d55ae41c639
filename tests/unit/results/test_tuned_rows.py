"""What a board tells of a tuned run beside the untuned one: gain, optimism, and a log loss that is worse."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fixtures.made_runs import metrics
from marsbench.config import Criteria
from marsbench.evaluation.scores import Metrics, grade
from marsbench.report.board_notes import board_notes
from marsbench.report.page import build_page
from marsbench.report.phrases import row_details, tuning_lines
from marsbench.report.selection import select_all
from marsbench.report.terminal.board import TerminalBoard
from marsbench.report.terminal.tuning import tuned_in_vain
from marsbench.results.leaderboard import leaderboards, row_beside_others
from marsbench.results.row import Row
from marsbench.results.schema import FoldTuning, TuningRecord
from marsbench.results.store import find_run

Bench = Callable[..., Any]
Write = Callable[..., Any]


def fold(number: int, **changes: Any) -> FoldTuning:
    values: dict[str, Any] = {
        "fold": number, "best": 2, "configuration": {}, "inner_score": 0.9, "untuned_score": 0.8,
        "outer_score": 0.7, "complete": 3, "pruned": 0, "failed": 0, "ended": "all trials",
    }  # fmt: skip
    return FoldTuning(**values | changes)


def tuning_of(*folds: FoldTuning, objective: str = "macro_f1") -> TuningRecord:
    asked = {"trials": 3, "tuner": "optuna", "objective": objective, "inner_folds": 3, "time_budget": None}
    return TuningRecord.model_validate({"asked": asked, "folds": [one.model_dump() for one in folds]})


def scored(value: float, log_loss: float, *by_fold: float, objective: str = "macro_f1") -> Metrics:
    folds = [{"fold": n, "n_clips": 10, objective: one} for n, one in enumerate(by_fold)]
    return Metrics.model_validate(metrics(value).model_dump() | {"log_loss": log_loss, "folds": folds})


@pytest.mark.parametrize(
    ("changes", "untuned", "optimism"),
    [
        ({}, 0.65, (0.9 - 0.7) - (0.8 - 0.65)),
        ({"outer_score": 0.75}, 0.65, 0.0),  # what it gained inside it gains outside
        ({"best": 0, "inner_score": 0.8}, None, 0.0),
        ({"best": None, "inner_score": None, "untuned_score": None}, 0.5, 0.0),
        ({}, None, None),
        ({"untuned_score": None}, 0.65, None),  # an older record
    ],
)
def test_optimism_is_what_selection_added(
    changes: dict[str, Any], untuned: float | None, optimism: float | None
) -> None:
    assert fold(0, **changes).optimism(untuned) == (None if optimism is None else pytest.approx(optimism))


def test_a_record_before_this_rule_is_read_and_its_optimism_unknown() -> None:
    older = fold(0).model_dump(exclude={"untuned_score"})
    assert FoldTuning.model_validate(older).optimism(0.5) is None


@pytest.fixture
def board(finished_run: Write) -> Callable[..., Row]:
    """Give the tuned row of a board with a tuned run and the untuned one."""

    def make(tuning: TuningRecord, tuned: Metrics, untuned: Metrics | None) -> Row:
        grades = grade(tuned, Criteria())
        finished_run("tuned", 0.8, settings={}, tuning=tuning, metrics=tuned, grades=grades)
        if untuned is not None:
            finished_run("untuned", 0.8, settings={}, metrics=untuned)
        (made,), _ = leaderboards(Path("results"))
        return next(row for row in made.rows if row.tuner)

    return make


def test_a_row_has_gain_and_the_mean_optimism_of_its_folds(board: Callable[..., Row], bench: Bench) -> None:
    row = board(tuning_of(fold(0), fold(1, best=0)), scored(0.7, 0.5, 0.7, 0.6), scored(0.65, 0.5, 0.65, 0.6))
    assert row.scores["gain"] == pytest.approx(0.05)
    assert row.scores["optimism"] == pytest.approx(0.025)
    assert row.optimisms == pytest.approx([0.05, 0.0])
    assert "gain +5.0, optimism +2.5" in row_details(row)
    (values,) = (one for one in json.loads(bench("leaderboard", "--json").stdout) if one["tuner"])
    assert (values["optimism"], values["log_loss_change"]) == pytest.approx((0.025, 0.0))


@pytest.mark.parametrize("with_score", [False, True])
def test_without_the_untuned_run_or_its_inner_score_optimism_is_not_shown(
    board: Callable[..., Row], with_score: bool
) -> None:
    one = fold(0) if with_score else fold(0, untuned_score=None)
    row = board(tuning_of(one), scored(0.7, 0.5, 0.7), None if with_score else scored(0.6, 0.5, 0.6))
    assert "optimism" not in row.scores
    assert not any("optimism" in line for line in row_details(row))


def test_the_optimism_of_tuning_for_log_loss_is_in_its_own_score(board: Callable[..., Row]) -> None:
    tuning = tuning_of(fold(0), objective="log_loss")
    untuned = scored(0.7, 0.6, 0.5, objective="log_loss")
    row = board(tuning, scored(0.7, 0.5, 0.4, objective="log_loss"), untuned)
    assert row.scores["optimism"] == pytest.approx((0.9 - 0.7) - (0.8 - 2.718281828**-0.5))
    assert "tuned for log loss, 3 trials" in row_details(row)


@pytest.mark.parametrize(
    ("log_loss", "told"),
    [(0.62, "log loss 0.12 worse"), (0.504, None), (0.4, None)],
)
def test_tuning_that_worsens_log_loss_says_so(
    board: Callable[..., Row], log_loss: float, told: str | None
) -> None:
    row = board(tuning_of(fold(0)), scored(0.7, log_loss, 0.7), scored(0.65, 0.5, 0.65))
    assert [line for line in row_details(row) if "log loss" in line] == ([told] if told else [])
    lines = [line for line in tuning_lines(tuning_of(fold(0)), row) if "worsened log loss by 0.12" in line]
    assert len(lines) == bool(told)


def test_the_summary_of_a_run_tells_where_nothing_better_was_found(
    board: Callable[..., Row], bench: Bench
) -> None:
    tuning = tuning_of(fold(0, best=0), fold(1), fold(2, best=None))
    board(tuning, scored(0.7, 0.6, 0.7, 0.7, 0.7), scored(0.65, 0.5, 0.6, 0.6, 0.6))
    text = " ".join(bench("show", "tuned").stdout.split())
    assert "Tuning found nothing better on folds 1 and 3: the untuned configuration is used there." in text
    assert "worsened log loss by 0.10 from 0.50" in text


def test_the_legend_says_what_optimism_is(board: Callable[..., Row]) -> None:
    board(tuning_of(fold(0)), scored(0.7, 0.5, 0.7), scored(0.65, 0.5, 0.65))
    (made,), _ = leaderboards(Path("results"))
    assert any("less that of the untuned configuration" in line for line in board_notes(made, made.rows))
    row = row_beside_others(Path("results"), find_run(Path("results"), "tuned").read_run())
    assert row is not None
    assert row.optimisms == pytest.approx([0.05])


@pytest.fixture
def _tuned_in_vain(finished_run: Write) -> None:
    """The best pipeline and the last one, both also tuned for nothing, around one that was never tuned."""
    for name, score in {"best": 0.9, "middle": 0.8, "worst": 0.7}.items():
        known: dict[str, Any] = {"settings": {"tiny.id": name}, "metrics": scored(score, 0.5, score)}
        finished_run(f"{name}-s0-{name}1", score, **known)
        if name != "middle":
            finished_run(f"{name}-s0-{name}0", score, **known, tuning=tuning_of(fold(0, best=0)))


@pytest.mark.usefixtures("_tuned_in_vain")
def test_ranks_count_what_is_shown_in_every_output(bench: Bench) -> None:
    (made,), _ = leaderboards(Path("results"))
    assert [row.rank for row in made.shown_rows] == [1, 2, 3]
    file = io.StringIO()
    Console(width=80, file=file).print(TerminalBoard(made))
    ranks = re.findall(r"^(\d) tiny", file.getvalue(), re.MULTILINE)
    markdown = re.findall(r"^\| (\d) \|", bench("leaderboard", "--markdown").stdout, re.MULTILINE)
    latex = re.findall(r"^(\d) &", bench("leaderboard", "--latex").stdout, re.MULTILINE)
    page = re.findall(r'class="num rank" data-value="(\d)"', build_page(select_all(Path("results"), None)))
    assert ranks == markdown == latex == page == ["1", "2", "3"]
    values = json.loads(bench("leaderboard", "--json").stdout)
    assert [one["rank"] for one in values] == [1, 1, 2, 3, 3]
    assert [one["tuner"] is None for one in values] == [True, False, True, True, False]


def test_what_is_folded_is_no_candidate_and_has_the_letters_of_its_row(predicted_run: Write) -> None:
    for name, wrong in {"a": 10, "b": 60}.items():
        predicted_run(f"{name}-s0-{name}1", range(wrong), settings={"tiny.id": name})
    before = leaderboards(Path("results"))[0][0]
    tuned = {"settings": {"tiny.id": "a"}, "tuning": tuning_of(fold(0, best=0))}
    predicted_run("a-s0-a0", range(10), **tuned)
    after = leaderboards(Path("results"))[0][0]
    assert before.rows[0].chosen is not None
    assert after.rows[0].chosen == before.rows[0].chosen
    assert [row.letters for row in after.shown_rows] == [row.letters for row in before.rows]
    assert [row.letters for row in after.rows] == [["a"], ["a"], ["b"]]


def test_seeds_that_were_not_tuned_leave_the_tuned_row_its_untuned_rank(finished_run: Write) -> None:
    known: dict[str, Any] = {"settings": {}, "metrics": scored(0.8, 0.5, 0.8)}
    finished_run("a-s0-a", 0.8, **known)
    finished_run("a-s1-b", 0.6, settings={}, seed=1, metrics=scored(0.6, 0.5, 0.6))
    finished_run("a-s0-c", 0.8, **known, tuning=tuning_of(fold(0, best=0)))
    finished_run("other-s0-d", 0.75, metrics=scored(0.75, 0.5, 0.75))
    (made,), _ = leaderboards(Path("results"))
    assert [(row.rank, row.tuner is None, len(row.run_ids)) for row in made.rows] == [
        (1, True, 1),
        (2, True, 2),
        (2, False, 1),
    ]


def test_a_tuned_run_with_the_scores_of_the_untuned_one_above_is_one_line(finished_run: Write) -> None:
    known: dict[str, Any] = {"settings": {}, "metrics": scored(0.8, 0.5, 0.8)}
    untuned = finished_run("a-s0-a", 0.8, **known).read_run()
    tuned = finished_run("a-s0-c", 0.8, **known, tuning=tuning_of(fold(0, best=0))).read_run()
    better = tuned.model_copy(update={"tuning": tuning_of(fold(0))})
    line = tuned_in_vain(tuned, [untuned])
    assert line is not None
    assert "tiny + tiny, tuned (3 trials), stratified5, seed 0: tuning found nothing better" in line.plain
    assert tuned_in_vain(tuned, []) is tuned_in_vain(untuned, [untuned]) is None
    assert tuned_in_vain(better, [untuned]) is None
    assert tuned_in_vain(tuned, [untuned.model_copy(update={"seed": 1})]) is None
