"""`bench ensemble`, and what the other commands make of an ensemble."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]
MEMBERS = ("crossings-nearest_mean", "blocks-nearest_mean")


@pytest.fixture
def fused(bench: Bench, kit: Path, ran: Any) -> str:  # noqa: ARG001 - its runs are the members
    """Id of an ensemble of two finished runs with fitted weights."""
    result = bench("ensemble", *MEMBERS, "--plugins", kit)
    assert result.exit_code == 0
    (path,) = Path("results").glob("*/*/ensemble-*")
    return path.name


@pytest.mark.usefixtures("ran")
def test_an_ensemble_ends_with_its_weights_and_the_leaderboard(bench: Bench) -> None:
    result = bench("ensemble", *MEMBERS, "--equal")
    assert result.exit_code == 0
    assert "ensemble + mean, stratified5, seed 0" in result.stdout
    assert re.search(r"50\.0 +50 to 50 +blocks-nearest_mean-s0-", result.stdout)
    assert "Verdict: UNDECIDED" in result.stdout
    board = result.stdout.split("Leaderboard")[1]
    assert "+ mean" in board
    assert "ensemble: its members' probabilities fused" in board


@pytest.mark.usefixtures("ran")
def test_equal_weights_have_no_inner_folds(bench: Bench) -> None:
    result = bench("ensemble", *MEMBERS, "--equal", "--inner-folds", "3")
    assert result.exit_code == 2
    assert "--inner-folds is for fitted weights" in result.stderr


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["crossings"], "an ensemble needs two runs or more; only crossings-nearest_mean-s0-"),
        ([*MEMBERS, "--inner-folds", "0"], "bench ensemble: inner-folds = 0: input should be greater than"),
        ([*MEMBERS], "no dataset 'tones'"),
    ],
)
def test_what_cannot_be_fused_is_one_line(bench: Bench, words: list[str], message: str) -> None:
    result = bench("ensemble", *words)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"bench: {message}")


@pytest.mark.usefixtures("ran")
def test_another_corpus_is_refused(bench: Bench, kit: Path, home: Path) -> None:
    for label in ("low", "high"):
        clips = sorted((home / "tones").glob(f"{label}-*"))
        Path("other", label).mkdir(parents=True)
        for clip in clips:
            shutil.copy(clip, Path("other", label))
    result = bench("ensemble", *MEMBERS, "--plugins", kit, "--data", "other")
    assert result.exit_code == 1
    assert "the corpus 'other' is not the one that blocks-nearest_mean-s0-" in result.stderr


def test_an_ensemble_is_shown_with_the_weights_of_its_members(bench: Bench, fused: str) -> None:
    shown = bench("show", fused).stdout
    assert "over folds" in shown
    assert all(name in shown for name in MEMBERS)
    assert json.loads(bench("show", fused, "--json").stdout)["ensemble"]["inner_folds"] == 1


def test_an_ensemble_is_compared_with_its_members(bench: Bench, fused: str) -> None:
    result = bench("compare", fused, MEMBERS[0])
    assert result.exit_code == 0
    assert "ensemble + log_pool, seed 0" in result.stdout


def test_an_ensemble_is_refused_for_export_and_its_members_are_named(
    bench: Bench, fused: str, kit: Path
) -> None:
    for fold in ([], ["--fold", "1"]):
        result = bench("export", fused, "--plugins", kit, *fold)
        assert result.exit_code == 1
        assert f"{fused} is an ensemble, not one model" in result.stderr
        assert "take one of its members: blocks-nearest_mean-s0-" in result.stderr
    assert not Path("bundle").exists()


@pytest.mark.usefixtures("fused")
def test_a_finished_ensemble_stands_in_no_way_of_status_and_retry(bench: Bench) -> None:
    assert "3 run(s) finished, 0 not." in bench("status").stdout
    assert "no failed runs" in bench("retry", "--failed").stderr


def test_a_report_shows_an_ensemble_with_its_members_by_fold(bench: Bench, fused: str, kit: Path) -> None:
    assert bench("report", fused, "--plugins", kit).exit_code == 0
    page = Path("report.html").read_text("utf-8")
    assert "Members of the ensemble" in page
    assert "An ensemble keeps no epochs" in page
    assert page.count("fold 5</th>") == 1
