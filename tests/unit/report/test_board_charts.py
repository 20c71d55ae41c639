"""The pictures of a leaderboard that tell which pipeline to ship."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsbench.report.board_charts import MOST_DRAWN, MOST_SPOTS, BoardCharts, pareto_front
from marsbench.results.leaderboard import leaderboards
from marsbench.results.row import Row
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]
COST = "milliseconds_per_clip"
POINTS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12)


def charts_of(**changes: Any) -> BoardCharts:
    """Those of the rows in the results folder, each changed."""
    (board,), _ = leaderboards(Path("results"))
    return BoardCharts(replace(board, rows=tuple(row._replace(**changes) for row in board.rows)))


def count(svg: str, kind: str) -> int:
    """How many marks of a class a picture has."""
    found = ET.fromstring(svg).iter()  # noqa: S314 - our own picture
    return sum(kind in element.get("class", "").split() for element in found)


@pytest.fixture
def row(predicted_run: Write) -> Row:
    predicted_run("a")
    (board,), _ = leaderboards(Path("results"))
    return board.rows[0]


@pytest.fixture
def _three(predicted_run: Write) -> None:
    """Two of a group, and one that is significantly worse and smallest."""
    for run_id, share in {"a": 0.10, "b": 0.12, "c": 0.50}.items():
        rows = np.random.default_rng(ord(run_id)).permutation(240)[: int(240 * share)]
        size = 1000 * (200 - ord(run_id))
        predicted_run(run_id, rows, settings={"tiny.size": ord(run_id)}, model_bytes=size)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(points=POINTS)
def test_the_front_holds_exactly_what_no_other_row_beats_at_its_cost(
    row: Row, points: list[tuple[int, int]]
) -> None:
    def at(cost: int, score: int) -> Row:
        scores: Mapping[str, float] = {COST: cost, "macro_f1": score / 6}
        return row._replace(scores=scores)

    front = [
        (one.scores[COST], round(6 * one.scores["macro_f1"]))
        for one in pareto_front([at(*p) for p in points], COST)
    ]
    unbeaten = {
        (cost, score)
        for cost, score in points
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
    }
    assert front == sorted(unbeaten)


@pytest.mark.usefixtures("_three")
def test_every_pipeline_has_a_mark_an_interval_and_a_name_with_a_rule_between_groups() -> None:
    drawn = charts_of().intervals
    assert drawn is not None
    assert [count(drawn, kind) for kind in ("spot", "interval", "group", "threshold")] == [3, 3, 1, 1]
    assert "size=97" in drawn
    assert "size=99" in drawn


@pytest.mark.usefixtures("_three")
def test_the_cheapest_that_is_as_good_as_the_best_is_named_for_each_cost() -> None:
    fronts = {front.cost.name: front for front in charts_of().fronts}
    size = fronts["model_bytes"]
    best, second = (f"{100 * row.scores['macro_f1']:.1f}" for row in charts_of().ranked[:2])
    assert [row.settings["tiny.size"] for row in size.rows] == [99, 98, 97]
    assert size.notes[0] == (
        f"Smallest without a significant difference from the best: #2 tiny + tiny, 102 kB for {second} %; "
        f"the best: 103 kB for {best} %."
    )
    assert count(size.plot, "spot") == 3
    assert count(size.plot, "rank") == 3


@pytest.mark.parametrize(("outcome", "told"), [("fail", "None passes."), ("pass", "that passes: #")])
@pytest.mark.usefixtures("_three")
def test_whether_any_passes_is_told(outcome: str, told: str) -> None:
    assert all(told in front.notes[-1] for front in charts_of(verdict=outcome).fronts)


@pytest.mark.parametrize(
    ("apart", "marks"), [(False, {"circle": 3, "polygon": 3}), (True, {"polygon": 3, "circle": 3})]
)
@pytest.mark.usefixtures("_three")
def test_new_speakers_are_diamonds_and_the_other_kind_of_split_is_hollow(
    apart: bool, marks: dict[str, int]
) -> None:
    here = charts_of().board.rows[0]
    other = here._replace(board=here.board._replace(speakers_apart=not apart))
    charts = charts_of(board=here.board._replace(speakers_apart=apart), views=(other,))
    assert charts.intervals is not None
    assert count(charts.intervals, "hollow") == 3
    assert {tag: len(re.findall(f"<{tag} ", charts.intervals)) for tag in marks} == marks
    filled = set(re.findall(r'<(\w+) class="spot', charts.intervals))
    assert filled == {"polygon" if apart else "circle"}


def test_one_run_has_no_picture_and_rows_that_tell_no_cost_no_front(predicted_run: Write) -> None:
    predicted_run("a")
    assert charts_of().intervals is None
    assert charts_of().fronts == []
    predicted_run("b", settings={"tiny.size": 1})
    assert charts_of(scores={"macro_f1": 0.5}).fronts == []


def test_rows_beyond_the_best_are_counted(row: Row) -> None:
    rows = tuple(row._replace(run_ids=(f"r-{n}",), settings={"n": "x" * n}) for n in range(MOST_DRAWN + 3))
    charts = BoardCharts(replace(charts_of().board, rows=rows))
    assert charts.intervals is not None
    assert count(charts.intervals, "spot") == MOST_DRAWN
    assert charts.n_left_out == 3


def test_a_picture_of_costs_holds_the_best_rows_and_the_whole_front(row: Row) -> None:
    rows = tuple(
        row._replace(run_ids=(f"r-{n}",), rank=n + 1, scores={"macro_f1": 0.9 - n / 1000, COST: 9 - n % 2})
        for n in range(MOST_SPOTS + 20)
    )
    cheapest = row._replace(run_ids=("last",), rank=900, scores={"macro_f1": 0.1, COST: 1})
    (front,) = BoardCharts(replace(charts_of().board, rows=(*rows, cheapest))).fronts
    assert [one.rank for one in front.rows] == [900, 2, 1]
    assert count(front.plot, "spot") == MOST_SPOTS + 1


def test_a_name_is_folded_not_cut(row: Row) -> None:
    rows = tuple(row._replace(run_ids=(f"r-{n}",), settings={"n": "x" * 30 * n}) for n in range(5))
    charts = BoardCharts(replace(charts_of().board, rows=rows))
    assert charts.intervals is not None
    assert charts.intervals.count("x") >= 300
    assert max(map(len, re.findall(r'class="name"[^>]*>([^<]*)<', charts.intervals))) <= 50
