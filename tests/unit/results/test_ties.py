import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fixtures.results import rewrite
from marsbench.config import Tuning
from marsbench.report.phrases import letter_lines
from marsbench.results import leaderboard
from marsbench.results.leaderboard import leaderboards
from marsbench.results.row import Row
from marsbench.results.schema import Standing, TuningRecord
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]
RESULTS = Path("results")


def some(share: float, seed: int) -> list[int]:
    """Rows, about `share` of them."""
    return np.flatnonzero(np.random.default_rng(seed).random(240) < share).tolist()


def letters() -> dict[str, str | None]:
    (board,), _ = leaderboards(RESULTS)
    return {row.run_id: None if row.letters is None else "".join(row.letters) for row in board.rows}


def test_runs_without_a_significant_difference_share_a_letter_and_no_rank(predicted_run: Write) -> None:
    for run_id, share in {"a": 0.10, "b": 0.12, "c": 0.50}.items():
        predicted_run(run_id, some(share, ord(run_id)))
    assert letters() == {"a": "a", "b": "a", "c": "b"}
    (board,), _ = leaderboards(RESULTS)
    assert [row.rank for row in board.rows] == [1, 2, 3]
    first, second, third = board.rows
    assert first.is_level_with(second)
    assert not first.is_level_with(third)


def test_what_the_cache_holds_is_not_computed_again(
    predicted_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted_run("a", some(0.1, 0))
    predicted_run("b", some(0.5, 1))
    before = letters()
    monkeypatch.setattr(leaderboard, "_ties", lambda *_: pytest.fail("computed again"))
    assert letters() == before == {"a": "a", "b": "b"}


def test_a_run_made_anew_is_compared_anew(predicted_run: Write) -> None:
    predicted_run("a", some(0.1, 0))
    predicted_run("b", some(0.5, 1))
    letters()
    predicted_run("b", some(0.11, 1), finished="2026-01-02")
    assert letters() == {"a": "a", "b": "a"}


def test_a_damaged_cache_is_computed_again(predicted_run: Write, home: Path) -> None:
    predicted_run("a", some(0.1, 0))
    predicted_run("b", some(0.5, 1))
    letters()
    (kept,) = (home / "ties").glob("*.json")
    kept.write_text("{")
    assert letters() == {"a": "a", "b": "b"}


@pytest.mark.parametrize("harm", ["missing", "other clips", "no table"])
def test_a_run_whose_predictions_are_of_no_use_has_a_rank_and_no_letters(
    predicted_run: Write, harm: str
) -> None:
    predicted_run("a", some(0.10, 0))
    predicted_run("c", some(0.12, 2))
    folder = predicted_run("b", some(0.11, 1))
    if harm == "missing":
        folder.predictions.unlink()
    elif harm == "no table":
        folder.predictions.write_bytes(b"PAR1")
    else:
        rewrite(folder, lambda predictions: replace(predictions, folds=(predictions.folds + 1) % 5))
    found = letters()
    (board,), _ = leaderboards(RESULTS)
    assert board.n_compared == 2
    assert [row.rank for row in board.rows] == [1, 2, 3]
    assert found == {"a": "a", "b": None, "c": "a"}
    first, second = (next(row for row in board.rows if row.run_id == run_id) for run_id in "ab")
    assert not first.is_level_with(second)
    assert not second.is_level_with(second)


def test_predictions_that_are_written_again_are_compared_again(predicted_run: Write) -> None:
    predicted_run("a", some(0.10, 0))
    content = (folder := predicted_run("b", some(0.11, 1))).predictions.read_bytes()
    folder.predictions.write_bytes(content[:-1])
    (line,) = leaderboards(RESULTS)[1]
    assert line.startswith("b is compared with no other run: ")
    assert "is damaged: its checksum is not that in run.json" in line
    assert letters() == {"a": None, "b": None}
    folder.predictions.write_bytes(content)
    assert letters() == {"a": "a", "b": "a"}
    assert leaderboards(RESULTS)[1] == []


def test_runs_without_predictions_are_looked_at_once(
    predicted_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = predicted_run("a", some(0.10, 0)).predictions.read_bytes()
    (folder := predicted_run("b", some(0.11, 1))).predictions.unlink()
    assert letters() == {"a": None, "b": None}
    with monkeypatch.context() as patch:
        patch.setattr(leaderboard, "_ties", lambda *_: pytest.fail("computed again"))
        assert letters() == {"a": None, "b": None}
    folder.predictions.write_bytes(content)
    assert "b is compared with no other run" in leaderboards(RESULTS)[1][0]


def test_a_single_run_is_compared_with_nothing(predicted_run: Write) -> None:
    predicted_run("a")
    (board,), _ = leaderboards(RESULTS)
    assert (board.rows[0].rank, board.n_compared) == (1, 0)


def test_rows_beyond_the_best_are_compared_with_none(
    predicted_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboard, "MOST_COMPARED", 2)
    for run_id, share in {"a": 0.10, "b": 0.12, "c": 0.14}.items():
        predicted_run(run_id, some(share, ord(run_id)))
    (board,), _ = leaderboards(RESULTS)
    assert [row.rank for row in board.rows] == [1, 2, 3]
    assert [row.letters is None for row in board.rows] == [False, False, True]
    assert board.n_compared == 2


def first_row() -> Row:
    (board,), _ = leaderboards(RESULTS)
    assert all(row.chosen is None for row in board.rows[1:])
    return board.rows[0]


def test_the_first_of_a_board_is_corrected_for_having_been_chosen(predicted_run: Write) -> None:
    for number in range(6):
        predicted_run(f"r{number}", some(0.2, number))
    row = first_row()
    assert row.chosen is not None
    assert (row.chosen.n_candidates, row.chosen.n_clips) == (6, 240)
    assert row.chosen.measured.value == row.ranked_score
    assert row.chosen.corrected.value < row.scores["macro_f1"]
    assert row.chosen.measured.low - row.chosen.corrected.low == pytest.approx(row.chosen.bias)


def test_one_far_above_the_others_needs_no_correction(predicted_run: Write) -> None:
    predicted_run("a", some(0.05, 0))
    predicted_run("b", some(0.5, 1))
    chosen = first_row().chosen
    assert chosen is not None
    assert chosen.bias == pytest.approx(0, abs=0.001)


def test_rows_beyond_those_that_are_compared_are_candidates(
    predicted_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboard, "MOST_COMPARED", 2)
    for number in range(4):
        predicted_run(f"r{number}", some(0.2, number))
    chosen = first_row().chosen
    assert chosen is not None
    assert chosen.n_candidates == 4


@pytest.mark.parametrize("harm", ["a single row", "the first one's predictions are gone"])
def test_what_cannot_be_corrected_is_not(predicted_run: Write, harm: str) -> None:
    folder = predicted_run("a", some(0.1, 0))
    if harm != "a single row":
        predicted_run("b", some(0.2, 1))
        predicted_run("c", some(0.2, 2))
        folder.predictions.unlink()
    assert first_row().chosen is None


def test_the_correction_of_a_board_is_kept(predicted_run: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        predicted_run(f"r{number}", some(0.2, number))
    before = first_row()
    monkeypatch.setattr(leaderboard, "_ties", lambda *_: pytest.fail("computed again"))
    assert first_row() == before


def test_seeds_of_one_configuration_share_a_row_of_their_means(predicted_run: Write) -> None:
    folders = [
        predicted_run(f"s{seed}", some(share, seed), seed=seed, settings={})
        for seed, share in enumerate((0.1, 0.2, 0.3))
    ]
    runs = [folder.read_run().metrics for folder in folders]
    (board,), _ = leaderboards(RESULTS)
    (row,) = board.rows
    assert (row.seeds, row.run_ids, board.n_older) == ((0, 1, 2), ("s0", "s1", "s2"), 0)
    for name in ("accuracy", "macro_f1", "uar"):
        assert row.scores[name] == pytest.approx(np.mean([run[name].value for run in runs if run]))
    values = [run["macro_f1"].value for run in runs if run]
    assert row.scores["seed_spread"] == pytest.approx(np.std(values, ddof=1))
    assert row.scores["macro_f1_low"] == pytest.approx(np.mean([run["macro_f1"].low for run in runs if run]))


def test_every_record_is_read_once_whatever_its_seed(
    predicted_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1, 2):
        predicted_run(f"s{seed}", some(0.1, seed), seed=seed, settings={})
    read: list[str] = []

    def counted(folder: RunFolder) -> Standing | None:
        read.append(folder.path.name)
        return whole(folder)

    whole = RunFolder.read_standing
    monkeypatch.setattr(RunFolder, "read_standing", counted)
    leaderboards(RESULTS)
    assert sorted(read) == ["s0", "s1", "s2"]
    assert gc.isenabled()


def test_all_shows_each_seed_by_itself(predicted_run: Write) -> None:
    for seed in (0, 1):
        predicted_run(f"s{seed}", some(0.1, seed), seed=seed, settings={})
    (board,), _ = leaderboards(RESULTS, older=True)
    assert sorted(row.seeds for row in board.rows) == [(0,), (1,)]


@pytest.mark.parametrize("older", [False, True])
def test_gain_is_over_the_untuned_run_of_the_same_seed(predicted_run: Write, older: bool) -> None:
    tuning = TuningRecord(
        asked=Tuning(trials=3, tuner="optuna", objective="macro_f1", inner_folds=1, time_budget=None),
        folds=[],
    )
    for seed, share in enumerate((0.3, 0.2)):
        predicted_run(f"u{seed}", some(share, seed), seed=seed, settings={})
        predicted_run(f"t{seed}", some(0.1, seed), seed=seed, settings={}, tuning=tuning)
    (board,), _ = leaderboards(RESULTS, older=older)
    by_id = {row.run_id: row for row in board.rows}
    if older:
        for seed in (0, 1):
            gain = by_id[f"t{seed}"].scores["macro_f1"] - by_id[f"u{seed}"].scores["macro_f1"]
            assert by_id[f"t{seed}"].scores["gain"] == pytest.approx(gain)
    else:
        assert by_id["t0"].scores["gain"] == pytest.approx(
            by_id["t0"].scores["macro_f1"] - by_id["u0"].scores["macro_f1"]
        )
        assert by_id["t0"].scores["trials"] == 0


def test_a_failed_seed_stays_a_row_with_its_reason(predicted_run: Write, finished_run: Write) -> None:
    for seed in (0, 1):
        predicted_run(f"s{seed}", some(0.1, seed), seed=seed, settings={})
    finished_run("s2", None, seed=2, settings={})
    (board,), _ = leaderboards(RESULTS)
    assert [(row.seeds, row.reason) for row in board.rows] == [((0, 1), None), ((2,), "no luck today")]


def views(predicted_run: Write, **by_speaker: object) -> list[Row]:
    """One pipeline on both kinds of board; gives all rows."""
    folder = predicted_run("a", some(0.1, 0), settings={})
    protocol = folder.read_run().protocol
    apart = protocol.model_copy(update={"name": "speaker5", "hash": "6" * 64, "by_speaker": True})
    other = predicted_run("b", some(0.4, 1), settings={}, protocol=apart, **by_speaker)
    other.path.rename((RESULTS / "tones" / "speaker5").with_name("moved"))
    target = RESULTS / "tones" / "speaker5" / "b"
    target.parent.mkdir()
    (RESULTS / "tones" / "moved").rename(target)
    boards, _ = leaderboards(RESULTS)
    return [row for board in boards for row in board.rows]


def test_both_views_of_the_same_clips_stand_side_by_side(predicted_run: Write) -> None:
    by_speaker, at_random = views(predicted_run)
    assert at_random.other is not None
    assert by_speaker.other is not None
    assert (at_random.other.run_id, by_speaker.other.run_id) == (by_speaker.run_id, at_random.run_id)
    assert (
        at_random.speaker_gap
        == by_speaker.speaker_gap
        == pytest.approx(at_random.scores["macro_f1"] - by_speaker.scores["macro_f1"])
    )
    assert (at_random.speaker_gap or 0) > 0


@pytest.mark.parametrize("other", [{"seed": 0, "settings": {"tiny.x": 1}}, {"corpus": None}])
def test_other_settings_or_clips_are_no_other_view(
    predicted_run: Write, finished_run: Write, other: dict[str, object]
) -> None:
    if "corpus" in other:
        corpus = finished_run("x", 0.5).read_run().corpus
        other = {"corpus": corpus.model_copy(update={"fingerprint": "another"})}
        (RESULTS / "tones" / "stratified5" / "x" / "run.json").unlink()
    if "settings" in other:
        folder = predicted_run("a", settings={})
        protocol = folder.read_run().protocol
        apart = protocol.model_copy(update={"name": "speaker5", "hash": "6" * 64, "by_speaker": True})
        predicted_run("b", settings=other["settings"], protocol=apart)
        rows = [row for board in leaderboards(RESULTS)[0] for row in board.rows]
    else:
        rows = views(predicted_run, **other)
    assert [row.speaker_gap for row in rows] == [None, None]


LUCKY = [row for row in range(240) if row % 5 == 0 and row // 5 % 2]
"""Rows of one fold, half of them."""


@pytest.mark.parametrize(
    ("protocol", "by_speaker", "help_"),
    [
        ("stratified5", False, "More folds (stratified10) or seeds (--repeats) would help."),
        ("utterance5", False, "More folds (utterance10) or seeds (--repeats) would help."),
        ("luna5", True, "More folds (loso) or seeds (--repeats) would help."),
        ("loso", True, "More seeds (--repeats) would help."),
        ("mine", False, "More seeds (--repeats) would help."),
    ],
)
def test_a_difference_that_the_folds_cannot_confirm_is_told_with_what_would_help(
    predicted_run: Write, protocol: str, by_speaker: bool, help_: str
) -> None:
    predicted_run("a")
    predicted_run("b", LUCKY)
    (board,), _ = leaderboards(RESULTS)
    weak = board.unconfirmed
    assert weak is not None
    assert (weak.ranks, weak.n_folds, weak.n_pairs) == ([1, 2], 5, 1)
    assert weak.difference == pytest.approx(0.1, abs=0.001)
    # One fold of five differs by half of its clips: t quantile 2.78, deviation 0.224, sqrt(1/5 + 1/4).
    assert weak.shown_by_folds == pytest.approx(2.776 * 0.2236 * 0.6708, rel=0.2)
    rows = [row._replace(board=row.board._replace(speakers_apart=by_speaker)) for row in board.rows]
    line = letter_lines(replace(board, protocol=protocol, rows=tuple(rows)))[-1]
    assert line.startswith("5 folds cannot confirm that #1 and #2 differ by 10.0 points: only from ")
    assert line.endswith(help_)


@pytest.mark.parametrize("wrong", [some(0.5, 1), [], LUCKY[:2]])
def test_nothing_is_said_of_folds_that_confirm_or_where_no_test_sees_a_difference(
    predicted_run: Write, wrong: list[int]
) -> None:
    predicted_run("a")
    predicted_run("b", wrong)
    (board,), _ = leaderboards(RESULTS)
    assert board.unconfirmed is None
    assert len(letter_lines(board)) == 1
