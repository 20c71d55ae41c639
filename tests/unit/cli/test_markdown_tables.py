import re
from collections.abc import Callable
from typing import Any

import pytest

from marsbench.config import Criteria
from marsbench.report.boards import escaped
from marsbench.results.store import RunFolder

Bench = Callable[..., Any]
Write = Callable[..., RunFolder]


def cells(shown: str) -> list[list[str]]:
    """Of every row below the headers."""
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_a_row_holds_rank_pipeline_scores_verdict_and_digest(bench: Bench, finished_run: Write) -> None:
    finished_run("tiny-tiny-s0-123456789abc", 0.5)
    (row,) = cells(bench("leaderboard", "--markdown").stdout)
    score = "50.0 (40.0 to 60.0)"
    pipeline = "tiny + tiny, id=tiny-tiny-s0-123456789abc"
    assert row == [
        "1",
        "",
        pipeline,
        score,
        score,
        "50.0",
        f"low {score}",
        "undecided",
        "0.50",
        "50.0",
        "`123456`",
    ]


def test_seeds_of_a_configuration_share_a_row(bench: Bench, finished_run: Write) -> None:
    for seed in range(3):
        finished_run(f"tiny-tiny-s{seed}-00000{seed}", 0.5, seed=seed, settings={})
    (row,) = cells(bench("leaderboard", "--markdown").stdout)
    assert row[2] == "tiny + tiny, seeds 0 to 2, ± 0.0"


def test_rows_and_ranks_are_those_of_the_terminal(bench: Bench, finished_run: Write) -> None:
    for number in range(9):
        finished_run(f"tiny-tiny-s0-00000{number}", None if number == 8 else number // 2 / 10)
    for top, expected in (("3", 3), ("0", 9)):
        rows = cells(bench("leaderboard", "--markdown", "--top", top).stdout)
        table = bench("leaderboard", "--top", top).stdout
        on_terminal = re.findall(r"^ *([\d-]+) .*tiny \+ tiny.* (\d{6}) *$", table, re.MULTILINE)
        assert [(row[0], row[-1].strip("`")) for row in rows] == on_terminal
        assert len(rows) == expected


def test_a_failed_run_has_a_row_without_scores_and_its_reason_below(
    bench: Bench, finished_run: Write
) -> None:
    finished_run("tiny-tiny-s0-000001", None)
    shown = bench("leaderboard", "--markdown").stdout
    (row,) = cells(shown)
    assert row[:2] == ["-", ""]
    assert row[3:] == ["", "", "", "", "failed", "", "", "`000001`"]
    assert "tiny-tiny-s0-000001 failed: no luck today." in shown


def test_one_line_below_tells_what_the_terminal_does(bench: Bench, finished_run: Write) -> None:
    run = finished_run("tiny-tiny-s0-000001", 0.5).read_run()
    leakage = run.protocol.leakage.model_copy(update={"speakers_shared": 24})
    finished_run("tiny-tiny-s0-000001", 0.5, protocol=run.protocol.model_copy(update={"leakage": leakage}))
    shown = bench("leaderboard", "--markdown", "--criteria", "accuracy=0.4").stdout
    below = shown.rstrip().splitlines()[-1]
    assert below.startswith("In %, with 95 % intervals; to pass, exceed accuracy 40, macro F1 80, recall of ")
    assert "Train and test share 24 speakers; expect lower scores on new ones." in below


def test_every_board_is_a_table_of_its_own_with_its_name(bench: Bench, kit: object, ran: object) -> None:
    assert ran
    grid = ("--features", "blocks", "--model", "nearest_mean", "--data", "tones", "--trials", "0")
    bench("run", *grid, "--plugins", kit, "--protocol", "speaker5")
    shown = bench("leaderboard", "--markdown").stdout
    titles = re.findall(r"^\*\*(.*)\*\*, protocol [0-9a-f]{8}$", shown, re.MULTILINE)
    assert titles == ["tones, synthetic, speaker5", "tones, synthetic, stratified5"]
    assert shown.count("\n| # |") == 2


def test_signs_of_markdown_stand_as_they_are(bench: Bench, finished_run: Write) -> None:
    finished_run("tiny-tiny-s0-000001", 0.5, settings={"tiny.a": "x|y *z* <b>", "tiny.b": [1, "c_d"]})
    (row,) = cells(bench("leaderboard", "--markdown").stdout)
    assert len(row) == 11
    assert row[2] == r"tiny + tiny, a=x\|y \*z\* \<b\>, b=\[1, 'c_d'\]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a_b", "a_b"), ("_a_", r"\_a\_"), ("a__b", r"a\_\_b"), ("two\nlines", "two lines"), ("&lt;", r"\&lt;")],
)
def test_text_is_escaped_no_more_than_it_must_be(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_criteria_of_a_run_do_not_stand_for_those_of_the_board(bench: Bench, finished_run: Write) -> None:
    finished_run("tiny-tiny-s0-000001", 0.5, criteria=Criteria(accuracy=0.1))
    assert "accuracy 80," in bench("leaderboard", "--markdown").stdout
