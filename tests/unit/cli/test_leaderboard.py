import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from marsbench.report.columns import data_keys
from marsbench.results.store import RunFolder

Bench = Callable[..., Any]


@pytest.fixture(autouse=True)
def _many(finished_run: Callable[..., RunFolder]) -> None:
    """Thirty-six runs, the last two failed."""
    for number in range(36):
        finished_run(f"tiny-tiny-s0-{number:06}", None if number > 33 else number / 40)


@pytest.mark.parametrize(
    ("words", "shown", "more"),
    [
        ((), 30, "… and 6 more (2 failed); --top 0 shows all."),
        (("--top", "34"), 34, "… and 2 more (2 failed); --top 0 shows all."),
        (("--top", "1"), 1, "… and 35 more (2 failed); --top 0 shows all."),
        (("--top", "36"), 36, None),
        (("--top", "0"), 36, None),
    ],
)
def test_a_table_shows_the_best_rows_and_tells_how_many_there_are_more(
    bench: Bench, words: tuple[str, ...], shown: int, more: str | None
) -> None:
    table = bench("leaderboard", *words).stdout
    assert table.count("+ tiny") == shown
    assert ("--top 0 shows all" in table) == (more is not None)
    assert (more or "") in table


def test_failed_runs_stand_at_the_bottom_with_their_reason(bench: Bench) -> None:
    table = bench("leaderboard", "--top", "0").stdout
    assert table.index("000033") < table.index("000000") < table.index("000034")
    assert "tiny-tiny-s0-000035 failed: no luck today" in table


def test_json_and_csv_hold_every_row_whatever_the_table_shows(bench: Bench) -> None:
    rows = json.loads(bench("leaderboard", "--top", "1", "--json").stdout)
    lines = list(csv.DictReader(io.StringIO(bench("leaderboard", "--top", "1", "--csv").stdout)))
    assert [row["run_id"] for row in rows] == [line["run_id"] for line in lines]
    assert len(rows) == 36
    assert list(rows[0]) == list(lines[0]) == data_keys()


def test_fewer_rows_than_none_are_wrong_usage(bench: Bench) -> None:
    assert bench("leaderboard", "--top", "-1").exit_code == 2
