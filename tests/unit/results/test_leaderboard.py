from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.made_runs import CORPUS, PROTOCOL, RECIPE
from marsbench.config import Criteria
from marsbench.errors import ConfigError, ResultsError
from marsbench.progress import Silent
from marsbench.report.columns import data_rows
from marsbench.results.best import best_run, best_run_or_moved
from marsbench.results.leaderboard import leaderboards
from marsbench.results.row import _spread
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]
RESULTS = Path("results")


def test_equal_scores_share_a_rank_and_failed_runs_stand_last_without_one(finished_run: Write) -> None:
    for run_id, score in {"f": None, "d": 0.5, "c": 0.9, "b": 0.9, "a": 0.2, "e": None}.items():
        finished_run(run_id, score)
    (board,), unreadable = leaderboards(RESULTS)
    ranks = [(row.run_id, row.rank) for row in board.rows]
    assert ranks == [("b", 1), ("c", 1), ("d", 3), ("a", 4), ("e", None), ("f", None)]
    assert board.rows[4].reason == "no luck today"
    assert unreadable == []


@pytest.mark.parametrize(
    ("threshold", "outcome", "reached"),
    [(0.3, "pass", True), (0.45, "undecided", True), (0.55, "undecided", False), (0.7, "fail", False)],
)
def test_a_run_is_graded_by_the_criteria_asked_for_not_by_its_own(
    finished_run: Write, threshold: float, outcome: str, reached: bool
) -> None:
    finished_run("a", 0.5)
    asked = Criteria(accuracy=threshold, macro_f1=threshold, class_recall=threshold)
    (told,) = data_rows(leaderboards(RESULTS, criteria=asked)[0])
    assert told["verdict"] == outcome
    assert {told[f"{name}_reached"] for name in ("accuracy", "macro_f1", "class_recall")} == {reached}


def test_a_run_that_was_graded_by_the_criteria_asked_for_keeps_its_verdict(finished_run: Write) -> None:
    finished_run("a", 0.5, verdict="pass")
    (row,) = leaderboards(RESULTS)[0][0].rows
    assert row.verdict == "pass"


@pytest.mark.parametrize(
    ("verdict", "recorded", "shown"),
    [("undecided", 1.0, 0.975), ("undecided", 0.4, 0.4), ("pass", 0.93, 0.975), ("fail", 0.2, 0.025)],
)
def test_p_never_contradicts_the_verdict_whatever_an_older_record_says(
    finished_run: Write, verdict: str, recorded: float, shown: float
) -> None:
    folder = finished_run("a", 0.5, verdict=verdict, pass_confidence=recorded)
    (board,), _ = leaderboards(Path("results"))
    assert board.rows[0].scores["pass_confidence"] == folder.read_run().pass_confidence == shown


def test_of_one_pipelines_runs_the_one_finished_last_stands_for_all(finished_run: Write) -> None:
    finished_run("a", 0.9, settings={}, finished="2026-01-02")
    finished_run("b", 0.5, settings={}, finished="2026-01-01")
    (board,), _ = leaderboards(RESULTS)
    assert ([row.run_id for row in board.rows], board.n_older) == (["a"], 1)
    (board,), _ = leaderboards(RESULTS, older=True)
    assert ([row.run_id for row in board.rows], board.n_older) == (["a", "b"], 0)


def test_what_cannot_be_read_is_left_out_in_one_line_each(finished_run: Write) -> None:
    finished_run("whole", 0.5)
    (finished_run("cut off", 0.5).path / "run.json").write_text("{")
    (RESULTS / "tones" / "stratified5" / "odd" / "run.json").mkdir(parents=True)
    (RESULTS / "tones" / "stratified5" / "begun").mkdir()
    (board,), unreadable = leaderboards(RESULTS)
    assert [row.run_id for row in board.rows] == ["whole"]
    assert [line.partition("/run.json ")[2][:21] for line in unreadable] == [
        "is damaged: its check",
        "cannot be read: Is a ",
    ]


@pytest.mark.parametrize("name", ["/tones", "../results", "tone", "*"])
def test_a_corpus_that_is_not_there_is_answered_with_those_that_are(finished_run: Write, name: str) -> None:
    finished_run("a", 0.5)
    with pytest.raises(ResultsError, match=r"Unknown corpus .*tones"):
        leaderboards(RESULTS, name)


def edited(write: Write, run_id: str, digit: str, day: int, **changes: Any) -> None:
    """A run under the protocol with that digit in its hash, finished on a day of January."""
    protocol = PROTOCOL.model_copy(update={"hash": digit * 64})
    write(run_id, 0.5, protocol=protocol, finished=f"2026-01-{day:02}T12:30:00.000+00:00", **changes)


@pytest.mark.parametrize(("days", "newest"), [((1, 2), "b"), ((2, 1), "a")])
def test_of_leaderboards_of_one_name_the_newest_is_taken_and_that_is_said(
    finished_run: Write, days: tuple[int, int], newest: str
) -> None:
    edited(finished_run, "a", "a", days[0])
    edited(finished_run, "b", "b", days[1])
    said: list[str] = []
    assert best_run(RESULTS, say=said.append).path.name == newest
    assert f"The newest is taken, {newest * 8} of 2026-01-02 12:30; --protocol HASH takes" in said[0]
    assert best_run(RESULTS, "tones", "stratified5").path.name == newest


@pytest.mark.parametrize("digits", [4, 8, 64])
def test_the_hash_names_one_of_them_and_nothing_is_said(finished_run: Write, digits: int) -> None:
    edited(finished_run, "a", "a", 1)
    edited(finished_run, "b", "b", 2)
    said: list[str] = []
    assert best_run(RESULTS, "tones", "a" * digits, said.append).path.name == "a"
    assert said == []
    assert [board.hash for board in leaderboards(RESULTS, protocol="A" * digits)[0]] == ["a" * 64]
    with pytest.raises(ResultsError, match="Unknown protocol"):
        leaderboards(RESULTS, protocol="aaa")


def test_leaderboards_of_different_names_are_never_chosen_from(finished_run: Write) -> None:
    finished_run("a", 0.5)
    write = finished_run("b", 0.5).read_run()
    other = RunFolder(RESULTS / "tones" / "other" / "b")
    other.write_run(write.model_copy(update={"protocol": PROTOCOL.model_copy(update={"name": "other"})}))
    with pytest.raises(ResultsError, match="give --data and --protocol, or a run"):
        best_run(RESULTS)
    assert best_run(RESULTS, protocol="other").path == other.path


@pytest.mark.parametrize(
    "path", ["mine", "./mine/", "mine/../mine", "{}/mine", "link", "~/mine", "tones", "tiny"]
)
def test_a_corpus_is_named_by_its_path_too(
    finished_run: Write, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    Path("mine").mkdir()
    Path("link").symlink_to("mine")
    dataset = replace(RECIPE, parameters={"root": str(Path("mine").absolute())})
    finished_run("a", 0.5, corpus=CORPUS.model_copy(update={"dataset": dataset}))
    (board,), _ = leaderboards(RESULTS, path.format(Path.cwd()))
    assert [row.run_id for row in board.rows] == ["a"]


@pytest.mark.parametrize("path", ["", "yours", "/", "results", "~nobody-of-that-name/x", "a\0b"])
def test_another_path_names_no_corpus(finished_run: Write, path: str) -> None:
    dataset = replace(RECIPE, parameters={"root": str(Path("mine").absolute())})
    finished_run("a", 0.5, corpus=CORPUS.model_copy(update={"dataset": dataset}))
    with pytest.raises(ResultsError, match=r"Unknown corpus .*tones"):
        leaderboards(RESULTS, path)


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=24))
def test_the_spread_over_folds_is_their_sample_standard_deviation(values: list[float]) -> None:
    assert _spread(values) == pytest.approx(stdev(values), abs=1e-15)


def test_a_single_fold_has_no_spread() -> None:
    assert _spread([0.5]) is None


@pytest.mark.parametrize("place", ["elsewhere/tones", "elsewhere/tones.csv", "elsewhere/other"])
def test_a_path_without_a_run_is_where_the_only_corpus_was_moved_to(finished_run: Write, place: str) -> None:
    finished_run("a", 0.5)
    Path(place).mkdir(parents=True)
    said: list[str] = []
    folder, moved = best_run_or_moved(RESULTS, place, None, said.append)
    assert (folder.path.name, moved) == ("a", place)
    assert f"No run was made on {place}" in said[0]


def test_a_moved_corpus_is_told_by_its_name_and_never_guessed(finished_run: Write) -> None:
    run = finished_run("a", 0.5).read_run()
    record = run.corpus.model_copy(update={"name": "noises"})
    other = RunFolder(RESULTS / "noises" / "stratified5" / "b")
    other.write_run(run.model_copy(update={"corpus": record, "run_id": "b"}))
    for place in ("elsewhere/noises", "elsewhere/third"):
        Path(place).mkdir(parents=True)
    assert best_run_or_moved(RESULTS, "elsewhere/noises", None, Silent().say)[0].path == other.path
    assert best_run_or_moved(RESULTS, "noises", None, Silent().say) == (other, None)
    with pytest.raises(ResultsError, match=r"name its run: RUN --data elsewhere/third"):
        best_run_or_moved(RESULTS, "elsewhere/third", None, Silent().say)
    with pytest.raises(ResultsError, match="Unknown corpus"):
        best_run_or_moved(RESULTS, "nowhere", None, Silent().say)


def joined_run(write: Write) -> None:
    """A run on two corpora, one of a plugin of its own, and a run on this one alone."""
    mine = replace(RECIPE, parameters={"root": str(Path("mine").absolute())})
    tones = replace(RECIPE, name="tones", parameters={})
    record = CORPUS.model_copy(update={"name": "mine-tones", "dataset": tones, "joined": [mine]})
    run = write("a", 0.5).read_run()
    RunFolder(RESULTS / "mine-tones" / "stratified5" / "b").write_run(
        run.model_copy(update={"corpus": record, "run_id": "b"})
    )


@pytest.mark.parametrize("places", [("mine", "tones"), ("tones", "./mine"), ["mine-tones"], "mine-tones"])
def test_a_joined_corpus_is_named_by_its_parts_in_any_order(
    finished_run: Write, places: str | list[str]
) -> None:
    joined_run(finished_run)
    found, moved = best_run_or_moved(RESULTS, places, None, Silent().say)
    assert (found.path.name, moved) == ("b", None)


@pytest.mark.parametrize("places", [("mine", "mine"), ("mine", "tones", "third"), ("tones", "third")])
def test_other_corpora_name_no_joined_one(finished_run: Write, places: tuple[str, ...]) -> None:
    joined_run(finished_run)
    with pytest.raises(ResultsError, match=f"Unknown corpus '{' and '.join(places)}'"):
        best_run_or_moved(RESULTS, places, None, Silent().say)


def test_a_joined_corpus_whose_parts_were_moved_is_found_by_their_names(finished_run: Write) -> None:
    joined_run(finished_run)
    Path("elsewhere/mine.csv").mkdir(parents=True)
    said: list[str] = []
    places = ["tones", "elsewhere/mine.csv"]
    found, moved = best_run_or_moved(RESULTS, places, None, said.append)
    assert (found.path.name, moved) == ("b", places)
    assert "No run was made on tones and elsewhere/mine.csv: it is taken for the place" in said[0]


@pytest.mark.parametrize("name", ["stratified5", "other"])
def test_a_protocol_is_named_by_its_file_too(finished_run: Write, name: str) -> None:
    finished_run("a", 0.5)
    Path("mine.toml").write_text(f'name = "{name}"\nby = "speaker"\nfolds = [["1"], ["2"]]\n')
    if name == "stratified5":
        assert [board.protocol for board in leaderboards(RESULTS, protocol="mine.toml")[0]] == [name]
        assert best_run(RESULTS, None, "./mine.toml").path.name == "a"
    else:
        with pytest.raises(ResultsError, match="Unknown protocol 'other'"):
            leaderboards(RESULTS, protocol="mine.toml")


def test_a_protocol_file_that_is_missing_is_named(finished_run: Write) -> None:
    finished_run("a", 0.5)
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        leaderboards(RESULTS, protocol="missing.toml")
