"""One pipeline under protocols of different strictness: what a board and a run's summary show beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.made_runs import metrics
from marsbench.config import Criteria
from marsbench.evaluation.scores import grade
from marsbench.report.board_notes import board_notes
from marsbench.report.phrases import row_details
from marsbench.results.leaderboard import leaderboards
from marsbench.results.row import Row
from marsbench.results.schema import LeakageRecord, ProtocolRecord
from marsbench.results.store import RunFolder

Bench = Callable[..., Any]
Write = Callable[..., RunFolder]
VIEWS = {
    "stratified5": (0.8, False, 0.98),
    "stratified10": (0.85, False, 0.99),
    "utterance5": (0.7, False, 0.0),
    "speaker5": (0.6, True, 0.0),
}
"""Score, whether by speaker, and share of takes in training by protocol."""


@pytest.fixture
def under(finished_run: Write) -> Callable[..., RunFolder]:
    """Write the run of one pipeline under a protocol."""

    def write(name: str, pipeline: str = "a", **leakage: Any) -> RunFolder:
        score, by_speaker, takes = VIEWS[name]
        shares = {"takes_shared": takes, "speakers_shared": 0 if by_speaker else 4} | leakage
        protocol = ProtocolRecord(
            name=name, hash=name.ljust(64, "0"), by_speaker=by_speaker, n_folds=2, notes=[],
            leakage=LeakageRecord(**shares),
        )  # fmt: skip
        run_id = f"tiny-tiny-s0-{name}{pipeline}"
        written = finished_run(
            run_id,
            score,
            settings={"tiny.id": pipeline},
            protocol=protocol,
            grades=grade(metrics(score), Criteria()),
        )
        path = written.path.parents[1] / name / run_id
        path.parent.mkdir(exist_ok=True)
        return RunFolder(written.path.rename(path))

    return write


def row_of(protocol: str) -> Row:
    (board,), _ = leaderboards(Path("results"), protocol=protocol)
    return board.rows[0]


@pytest.mark.parametrize(
    ("protocol", "views", "other", "stricter", "gap"),
    [
        ("stratified5", ["speaker5", "utterance5"], "speaker5", "speaker5", 0.2),
        ("utterance5", ["speaker5", "stratified5"], "speaker5", "speaker5", 0.1),
        ("speaker5", ["utterance5", "stratified5"], "stratified5", None, 0.2),
    ],
)
def test_each_row_has_the_views_of_other_strictness_the_strictest_first(
    under: Write, protocol: str, views: list[str], other: str, stricter: str | None, gap: float
) -> None:
    for name in VIEWS:
        under(name)
    row = row_of(protocol)
    assert [view.board.protocol for view in row.views] == views
    assert row.other is not None
    assert row.other.board.protocol == other
    assert (row.stricter.board.protocol if row.stricter else None) == stricter
    assert row.speaker_gap == pytest.approx(gap)


def test_a_board_shows_every_view_beside_the_row_and_says_what_is_shared(under: Write) -> None:
    for name in ("stratified5", "utterance5", "speaker5"):
        under(name)
    (board,), _ = leaderboards(Path("results"), protocol="stratified5")
    details = row_details(board.rows[0])
    assert "speaker5 60.0, gap +20.0" in details
    assert "utterance5 70.0" in details
    notes = board_notes(board, board.rows)
    assert any(note.startswith("98 % of test clips have another take") for note in notes)


def test_only_the_same_pipeline_is_a_view(under: Write) -> None:
    under("stratified5")
    under("utterance5", pipeline="b")
    assert row_of("stratified5").views == ()


def test_a_run_of_an_older_record_does_not_tell_of_takes(under: Write) -> None:
    under("stratified5", takes_shared=None)
    under("speaker5")
    (board,), _ = leaderboards(Path("results"), protocol="stratified5")
    assert not any("take" in note for note in board_notes(board, board.rows))
    assert [view.board.protocol for view in board.rows[0].views] == ["speaker5"]


def test_a_record_without_the_field_is_read() -> None:
    assert LeakageRecord.model_validate({"speakers_shared": 2}).takes_shared is None


@pytest.mark.parametrize(
    ("there", "shown", "leads"),
    [
        (
            ["stratified5", "utterance5", "speaker5"],
            "stratified5",
            "On new speakers (speaker5): accuracy 60.0",
        ),
        (["stratified5", "utterance5"], "stratified5", "On new utterances of known speakers (utterance5):"),
        (["utterance5", "speaker5"], "utterance5", "On new speakers (speaker5):"),
        (["stratified5", "speaker5"], "speaker5", None),
        (["stratified5"], "stratified5", None),
    ],
)
def test_the_summary_of_a_run_leads_with_the_strictest_view_there_is(
    bench: Bench, under: Write, there: list[str], shown: str, leads: str | None
) -> None:
    folders = {name: under(name) for name in there}
    summary = " ".join(bench("show", folders[shown].path.name).stdout.split())
    assert (leads in summary) if leads else ("The scores below" not in summary)


def test_json_has_every_view_and_the_share_of_takes(bench: Bench, under: Write) -> None:
    for name in ("stratified5", "utterance5", "speaker5"):
        under(name)
    (row,) = json.loads(bench("leaderboard", "--protocol", "stratified5", "--json").stdout)
    assert row["takes_shared"] == 0.98
    assert row["views"] == {"speaker5": 0.6, "utterance5": 0.7}
    assert (row["other_protocol"], row["other_macro_f1"]) == ("speaker5", 0.6)


@pytest.mark.parametrize("words", [(), ("--markdown",)])
def test_tables_say_the_share_of_takes(bench: Bench, under: Write, words: tuple[str, ...]) -> None:
    under("stratified5")
    told = " ".join(bench("leaderboard", *words).stdout.split())
    assert "98 % of test clips have another take of the same utterance in training" in told
