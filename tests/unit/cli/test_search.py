"""`bench search`."""

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import marsbench
from marsbench.atomic_files import read_record
from marsbench.automl.selection import SearchRecord
from marsbench.deployment import export
from marsbench.deployment.bundle import BaseBundle
from marsbench.errors import ResultsError

Bench = Callable[..., Any]


@pytest.fixture
def searched(bench: Bench, kit: Path) -> Callable[..., Any]:
    """Search among two pipelines of fakes, with no time for trials."""

    def call(*words: str) -> Any:
        usual = ["--data", "tones", "--features", "crossings,blocks", "--model", "nearest_mean"]
        return bench("search", *usual, "--time-budget", "10s", "--plugins", kit, *words)

    return call


def test_a_search_ends_with_its_stages_the_leaderboard_and_the_winners_bundle(
    searched: Callable[..., Any], kit: Path
) -> None:
    result = searched("-o", "winner", "--verbose")
    assert result.exit_code == 0
    phases = re.findall(r"([a-z ]+) [\d.]+", result.stderr.splitlines()[-1])
    assert {" screening", " choosing", " export", " report", " in all"} <= set(phases)
    assert "Search: 2 pipelines" in result.stdout
    assert re.search(r"crossings \+ nearest_mean +100\.0 .*(tuned for|untuned)", result.stdout)
    assert "Leaderboard: tones" in result.stdout
    winner = re.search(r"The winner is (\S+),", result.stdout)
    assert winner
    bundle = marsbench.load("winner", plugins=[kit])
    assert bundle.record.origin is not None
    assert bundle.record.origin.run_id == winner[1]


@pytest.mark.parametrize(
    ("folder", "message"),
    [("notes", "notes holds something else than a bundle"), ("notes/a.txt", "notes/a.txt is a file")],
)
def test_a_place_where_no_bundle_can_be_written_is_told_before_the_search(
    searched: Callable[..., Any], folder: str, message: str
) -> None:
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("mine")
    result = searched("-o", folder)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"bench: {message}")


def test_the_same_search_again_ends_with_the_same_winner(searched: Callable[..., Any]) -> None:
    winners = [re.search(r"The winner is (\S+),", searched().stdout) for _ in range(2)]
    assert winners[0]
    assert winners[1]
    assert winners[0][1] == winners[1][1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--time-budget", "5s"], "--time-budget 5s: should be greater than"),
        (["--time-budget", "soon"], "--time-budget soon: a time such as 90s"),
        (["--protocol", "stratified5,loso"], "--protocol stratified5,loso: at most 1 may be given, not 2"),
        (["--model", "nearest_maen"], "Unknown model 'nearest_maen'. Did you mean 'nearest_mean'?"),
        (["--set", "svm.C=1"], "set svm.C: plugin 'svm' is not in use here"),
        (["--objective", "beauty"], "--objective beauty: "),
        (["--hold-out-speakers", "nobody"], "hold-out-speakers: Unknown speaker 'nobody'"),
        (["--hold-out-speakers", "4"], "hold-out-speakers: 4 of 5 speakers"),
        (["--hold-out-clips", "2.5"], "--hold-out-clips 2.5: a share below 1"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    searched: Callable[..., Any], words: list[str], message: str
) -> None:
    result = searched(*words)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"bench: {message}")


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("write_bundle", RuntimeError("not savable")),
        ("golden_samples", ResultsError("not as at export")),
        ("_fit", SystemExit("bye")),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_next_best_run_is_exported_where_the_winner_cannot_be(
    searched: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kit: Path, stage: str, error: BaseException
) -> None:
    real, refused = getattr(export, stage), list[BaseException]()

    def refusing(*given: Any, **words: Any) -> Any:
        if len(refused) < 2:
            refused.append(error)
            raise error
        return real(*given, **words)

    monkeypatch.setattr(export, stage, refusing)
    result = searched("-o", "winner", "--features", "crossings,blocks,planted")
    assert result.exit_code == 0, result.stderr
    assert " ".join(result.stderr.split()).count("cannot be exported, the next best run is tried:") == 2
    record = read_record(next(Path("results").glob("*/*/search-*/search.json")), SearchRecord)
    assert record.winner is not None
    origin = marsbench.load("winner", plugins=[kit]).record.origin
    assert origin is not None
    assert origin.run_id == record.winner.run_id
    assert len(record.not_exported) == 2
    assert record.winner.run_id not in record.not_exported
    assert all(str(error) in reason for reason in record.not_exported.values())


def test_a_search_of_which_no_run_can_be_exported_ends_with_the_reasons(
    searched: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object) -> None:
        raise RuntimeError("not savable")

    monkeypatch.setattr(export, "write_bundle", refusing)
    result = searched()
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "bench: no run can be exported: RuntimeError: not savable"


def test_a_full_disk_is_told_and_the_same_search_again_exports_the_winner(
    searched: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_bundle", full)
        result = searched()
    assert result.exit_code == 1
    assert "No space left on device; free some space" in result.stderr.splitlines()[-1]
    assert searched().exit_code == 0
    record = read_record(next(Path("results").glob("*/*/search-*/search.json")), SearchRecord)
    assert not record.not_exported


def test_the_winner_predicts_held_out_speakers_once(
    searched: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = searched("--hold-out-speakers", "2")
    assert result.exit_code == 0
    assert "Held out: 12 clips of 2 speakers" in " ".join(result.stderr.split())
    text = " ".join(result.stdout.split())
    assert re.search(r"Best of \d+: macro F1 [\d.]+, corrected for having been chosen: ", text)
    score = re.search(r"On the 12 held-out clips of 2 speakers, which no choice has seen: .*\)\.", text)
    assert score
    assert all(word in score[0] for word in ("accuracy", "macro F1", "recall", "worst class"))
    monkeypatch.setattr(BaseBundle, "class_probabilities", lambda *_: pytest.fail("predicted again"))
    assert score[0] in " ".join(searched("--hold-out-speakers", "2").stdout.split())


def test_a_winner_that_was_kept_from_speakers_can_be_exported_again(
    searched: Callable[..., Any], bench: Bench, kit: Path
) -> None:
    winner = re.search(r"The winner is (\S+),", searched("--hold-out-clips", "0.2").stdout)
    assert winner
    exported = bench("export", winner[1], "-o", "again", "--plugins", kit)
    assert exported.exit_code == 0
    assert marsbench.load("again", plugins=[kit]).record.corpus.n_clips == 24
