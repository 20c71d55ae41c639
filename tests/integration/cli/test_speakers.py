"""Speakers that are unknown, named by an expression, or declared away, from the command to the page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

Bench = Callable[..., Any]
PITCHES = {"low": 300, "high": 3000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve voices that each say both classes thrice, in class folders; a pipeline is right on all."""
    random = np.random.default_rng(0)
    for label, pitch in PITCHES.items():
        for voice in range(12):
            for take in range(3):
                tone = np.sin(2 * np.pi * (pitch + 7 * voice + take) * np.arange(4000) / 8000)
                path = tmp_path / "audio" / label / f"v{voice:02}-{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.5 * tone + random.normal(0, 0.1, 4000), 8000)
    return tmp_path / "audio"


@pytest.fixture
def run(bench: Bench, kit: Path, folder: Path) -> Bench:
    grid = ("--features", "crossings", "--model", "nearest_mean", "--trials", "0", "--plugins", kit)
    return lambda *more: bench("run", "--data", folder, *grid, *more)


def board(bench: Bench) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(bench("leaderboard", "--json").stdout)
    return rows


def test_without_speakers_a_perfect_score_is_undecided_and_every_view_says_why(
    bench: Bench, run: Bench, tmp_path: Path
) -> None:
    ran = run()
    assert "Warning: no speaker is known" in ran.stderr
    assert "--speaker '" in ran.stderr
    assert "Verdict: UNDECIDED" in ran.stdout
    (row,) = board(bench)
    assert (row["accuracy"], row["verdict"], row["pass_confidence"]) == (1.0, "undecided", None)
    bench("report", "-o", "page.html")
    shown = [ran.stdout, bench("show", row["run_id"]).stdout, bench("leaderboard").stdout]
    shown += [bench("leaderboard", "--markdown").stdout, (tmp_path / "page.html").read_text("utf-8")]
    shown += [json.dumps(row["limits"]), bench("show", row["run_id"], "--json").stdout]
    assert all("no speaker is known, and clips of one speaker resemble each other" in one for one in shown)


def test_the_same_run_passes_once_its_clips_are_declared_independent_and_repeats_so(
    bench: Bench, run: Bench
) -> None:
    run()
    assert "Verdict: PASS" in run("--independent-clips").stdout
    (row,) = board(bench)
    assert (row["verdict"], row["limits"]) == ("pass", None)
    assert "--independent-clips" in bench("show", row["run_id"]).stdout
    run()
    assert [row["verdict"] for row in board(bench)] == ["undecided"]


def test_speakers_that_an_expression_names_are_those_of_the_run_and_of_its_repetition(
    bench: Bench, run: Bench
) -> None:
    ran = run("--speaker", r"(v\d+)-", "--protocol", "speaker5")
    assert "no speaker is known" not in ran.stderr + ran.stdout
    (row,) = board(bench)
    assert (row["verdict"], row["speakers_apart"]) == ("pass", True)
    shown = bench("show", row["run_id"])
    assert "Accuracy for one new speaker: " in shown.stdout
    assert "--speaker" in shown.stdout
    assert "v03" in bench("show", row["run_id"], "--by", "speaker").stdout


@pytest.mark.parametrize("command", ["data check", "protocols show speaker5 --data"])
def test_speakers_can_be_named_wherever_a_corpus_is_looked_at(
    bench: Bench, folder: Path, command: str
) -> None:
    told = bench(*command.split(), folder, "--speaker", r"(v\d+)-")
    assert told.exit_code == 0
    assert "v11" in told.stdout


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(x[0-9]+)", "--speaker (x[0-9]+) finds a speaker in no clip; none in high/v00-0.wav"),
        ("(v0[0-9])", "--speaker (v0[0-9]) finds a speaker in 60 of 72 clips; none in high/v10-0.wav"),
        ("(", "is not a regular expression"),
    ],
)
def test_an_expression_that_does_not_name_every_speaker_is_refused(
    run: Bench, pattern: str, message: str
) -> None:
    refused = run("--speaker", pattern)
    assert refused.exit_code == 1
    assert message in refused.stderr
