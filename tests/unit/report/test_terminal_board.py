"""A leaderboard in a terminal: one line a pipeline, by width; rules, bars and cautions."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from marsbench.evaluation.scores import Grade, Score
from marsbench.report.board_notes import group_starts
from marsbench.report.boards import in_latex
from marsbench.report.columns import Cell
from marsbench.report.terminal.board import TerminalBoard, _Axis
from marsbench.report.terminal.runs import run_summary
from marsbench.results.leaderboard import leaderboards
from marsbench.results.row import Row
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]
SHARES = st.floats(0, 1)


def shown(width: int = 80, encoding: str = "utf-8", **options: Any) -> str:
    (board,), _ = leaderboards(Path("results"))
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    Console(width=width, file=file, color_system=None).print(TerminalBoard(board, **options))
    file.seek(0)
    return file.read()


@pytest.fixture
def _three(predicted_run: Write) -> None:
    """Two of a group, and one that is significantly worse."""
    for run_id, share in {"a": 0.10, "b": 0.12, "c": 0.50}.items():
        rows = np.random.default_rng(ord(run_id)).permutation(240)[: int(240 * share)]
        predicted_run(run_id, rows, settings={"tiny.size": ord(run_id)})


@pytest.mark.parametrize(
    ("width", "there", "absent"),
    [
        (80, ["pipeline", "macro F1", "verdict"], ["accuracy", "worst class", "UAR", "ECE"]),
        (110, ["accuracy", "worst class"], ["UAR", "ECE"]),
        (130, ["accuracy", "worst class", "UAR", "ECE", "run"], ["training"]),
        (200, ["same", "UAR", "size", "training", "loss"], []),
    ],
)
@pytest.mark.usefixtures("_three")
def test_a_wider_terminal_has_more_columns_and_no_line_is_too_long(
    width: int, there: list[str], absent: list[str]
) -> None:
    lines = shown(width).splitlines()
    assert max(map(len, lines)) <= width
    (head,) = [line for line in lines if " pipeline" in line]
    assert [word for word in (*there, *absent) if word in head] == there
    assert sum("tiny + tiny" in line for line in lines) == 3


@pytest.mark.usefixtures("_three")
def test_a_rule_stands_where_paired_tests_tell_a_row_from_the_first_of_its_group() -> None:
    lines = shown().splitlines()
    (rule,) = [place for place, line in enumerate(lines) if line.startswith("─")]
    assert "size=98" in lines[rule - 1]
    assert "size=99" in lines[rule + 1]
    assert "Rules: the next row differs significantly" in " ".join(shown().split())


@pytest.mark.parametrize(
    ("letters", "starts"),
    [
        (["a", "a", "b"], [2]),
        (["a", "ab", "b", "c"], [2, 3]),
        (["ab", "bc", "cd"], [2]),
        (["a", "a", ""], []),
        ([""], []),
        ([], []),
    ],
)
def test_a_group_begins_at_a_row_that_shares_no_letter_with_the_first_of_the_one_above(
    letters: list[str], starts: list[int], predicted_run: Write
) -> None:
    predicted_run("a")
    (board,), _ = leaderboards(Path("results"))
    rows: list[Row] = [board.rows[0]._replace(letters=list(own) or None) for own in letters]
    assert group_starts(rows) == starts


@pytest.mark.usefixtures("_three")
def test_a_terminal_of_ascii_has_signs_of_ascii() -> None:
    text = shown(encoding="ascii", top=2)
    assert "?" in text
    assert "... and 1 more; --top 0 shows all." in text
    assert "o score = 95 % interval | threshold" in text


@given(low=SHARES, value=SHARES, high=SHARES, threshold=SHARES)
def test_a_bar_covers_the_mark_exactly_if_the_interval_holds_the_threshold(
    low: float, value: float, high: float, threshold: float
) -> None:
    low, value, high = sorted((low, value, high))
    axis = _Axis(min(90, 10 * int(10 * min(low, threshold))), 100, threshold)
    bar = axis.bar(Cell(value, "", low, high, threshold)).plain
    assert len(bar) == len(axis.header) == 12
    assert ("┊" not in bar) == (low <= threshold <= high)
    assert bar.count("●") == 1


@pytest.mark.usefixtures("_three")
def test_explain_tells_signs_columns_and_every_row() -> None:
    text = " ".join(shown(explain=True).split())
    for told in ("Letters: rows that share one", "Bar: macro F1", "#3 tiny + tiny (c): size=99"):
        assert told in text
        assert told not in " ".join(shown().split())


@pytest.mark.parametrize("best", [None, {"tiny.size": 3}])
def test_a_tuned_row_is_folded_into_its_untuned_one_if_tuning_found_nothing(
    best: dict[str, Any] | None, predicted_run: Write
) -> None:
    predicted_run("untuned", range(24), settings={})
    (board,), _ = leaderboards(Path("results"))
    untuned = board.rows[0]
    folds = [type("Fold", (), {"fold": 0, "best": best})]
    found = type("Tuning", (), {"folds": folds, "found_nothing": not best})
    tuned: Any = untuned._replace(
        run_ids=("x-s0-abc123",), configuration="tuned", tuner="random", tuning=found,  # type: ignore[arg-type]
        scores={**untuned.scores, "gain": 0.0},
    )  # fmt: skip
    both = type(board)(**{**vars(board), "rows": (untuned, tuned)})
    assert [row.run_ids for row in both.shown_rows] == [untuned.run_ids, *([tuned.run_ids] if best else [])]
    assert both.folded(untuned) == ([] if best else [tuned])


def test_settings_that_all_rows_have_are_told_once(predicted_run: Write) -> None:
    for number in (1, 2):
        predicted_run(f"r{number}", settings={"tiny.encoder": "e", "tiny.size": number})
    text = " ".join(shown().split())
    assert text.count("encoder=e") == 1
    assert "encoder=e in all rows with tiny." in text
    assert all(f"size={number}" in text for number in (1, 2))


@pytest.mark.usefixtures("_three")
def test_latex_has_a_line_a_row_and_the_rules_of_booktabs(bench: Callable[..., Any]) -> None:
    lines = bench("leaderboard", "--latex").stdout.splitlines()
    assert sum(line.endswith(r"\\") for line in lines) == 4
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    (head,) = [line for line in lines if "pipeline" in line and line.endswith(r"\\")]
    markdown = bench("leaderboard", "--markdown").stdout
    assert head.replace(r"\#", "#").removesuffix(r" \\").split(" & ") == [
        cell.strip()
        for cell in next(line for line in markdown.splitlines() if "| # |" in line)[1:-1].split("|")
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b", r"a\_b"),
        ("50 % & #1", r"50 \% \& \#1"),
        ("\\x{y}", r"\textbackslash{}x\{y\}"),
        ("~", r"\textasciitilde{}"),
    ],
)
def test_signs_of_latex_are_shown_as_they_are(text: str, escaped: str) -> None:
    assert in_latex(text) == escaped


@pytest.mark.parametrize(("sure", "shown_too"), [(0.96, True), (0.99, False)])
def test_a_run_shows_the_class_that_keeps_its_verdict_from_pass_also_where_another_is_worse(
    predicted_run: Write, sure: float, *, shown_too: bool
) -> None:
    run = predicted_run("a", np.arange(3)).read_run()
    values = {"sad": (0.8, 0.99), "calm": (0.9, sure), "happy": (0.9, 1.0)}
    grades = [
        Grade(
            criterion=f"class_recall {label}",
            threshold=0.75,
            score=Score(value=value, low=0.7, high=1.0),
            reached=True,
            outcome="pass" if confidence > 0.975 else "undecided",
            confidence=confidence,
        )
        for label, (value, confidence) in values.items()
    ]
    file = io.StringIO()
    Console(width=100, file=file).print(run_summary(run.model_copy(update={"grades": grades})))
    assert "worst class: sad" in file.getvalue()
    assert ("least sure class: calm" in file.getvalue()) == shown_too
