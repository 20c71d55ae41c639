import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]


@pytest.fixture
def ids(bench: Bench, kit: Path) -> list[str]:
    """Two finished runs."""
    grid = ("--features", "crossings", "--model", "nearest_mean,majority", "--data", "tones")
    assert bench("run", *grid, "--plugins", kit).exit_code == 0
    return sorted(path.name for path in Path("results/tones/stratified5").iterdir())


def test_a_comparison_shows_difference_chance_table_and_clips(bench: Bench, ids: list[str]) -> None:
    shown = bench("compare", *reversed(ids), "--top", "2").stdout
    for expected in (
        *ids,
        "Difference in macro F1, A minus B: +83.3 points, 95 % interval",
        "clips and speakers (paired bootstrap)",
        "training (corrected resampled t-test, folds)",
        "(below 0.05 for a mean difference of more than ",
        "Significant difference.",
        "McNemar's exact p = 1.9e-06",
        "A correct         10       20",
        "… and 18 more; --top 0 shows all.",
    ):
        assert expected in shown


def test_the_same_as_values(bench: Bench, ids: list[str]) -> None:
    found = json.loads(bench("compare", *ids, "--json").stdout)
    assert (found["first"], found["second"]) == tuple(ids)
    assert found["is_real"]
    assert 0 <= found["shown_by_folds"] < 0.8
    assert found["mcnemar"]["table"] == [[10, 0], [20, 0]]
    assert len(found["disagreements"]) == 20


def test_a_run_that_is_not_there_is_one_line(bench: Bench, ids: list[str]) -> None:
    result = bench("compare", ids[0], "nobody")
    assert result.exit_code == 1
    assert "Unknown run 'nobody'" in result.stderr
