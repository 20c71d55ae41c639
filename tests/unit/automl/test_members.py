"""Members of an ensemble that are chosen inside training parts, and what is said of those chosen by hand."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.results import rewrite
from marsbench.automl import members
from marsbench.automl.members import ensemble
from marsbench.automl.selection import Contender
from marsbench.config import Experiment, Fusion
from marsbench.errors import BenchError
from marsbench.progress import Progress
from marsbench.report.phrases import row_details
from marsbench.results.leaderboard import leaderboards
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_run, find_runs
from marsbench.runner.runner import run

Bench = Callable[..., Any]
Fuse = Callable[..., tuple[RunFolder, Run]]


@pytest.fixture(scope="module")
def made_board(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of results with untuned runs of fakes."""
    folder = tmp_path_factory.mktemp("board")
    grid = {"features": "crossings,planted", "model": "nearest_mean,knobs", "data": "tones", "trials": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_WORKERS", "0")
        patch.setenv("MARSBENCH_HOME", str(folder / "home"))
        patch.chdir(folder)
        run(Experiment.model_validate(grid | {"plugins": [kit]}))
    return folder / "results"


@pytest.fixture
def board(made_board: Path) -> list[str]:
    """Ids of the runs, which are in a copy of the results."""
    shutil.copytree(made_board, "results")
    return sorted(folder.path.name for folder in find_runs(Path("results")))


@pytest.fixture
def fuse(kit: Path) -> Fuse:
    def call(*runs: str, progress: Progress | None = None, **options: Any) -> tuple[RunFolder, Run]:
        return ensemble(Fusion.model_validate({"runs": list(runs), "plugins": [kit]} | options), progress)

    return call


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Contender]]:
    """Let the two best contenders be chosen, as if they made different errors; gives what was chosen from."""
    seen: list[Sequence[Contender]] = []

    def two(contenders: Sequence[Contender]) -> list[Contender]:
        seen.append(contenders)
        return sorted(contenders, key=lambda one: -one.score)[:2]

    monkeypatch.setattr(members, "best_members", two)
    return seen


def ids_of(done: tuple[RunFolder, Run]) -> list[str]:
    assert done[1].ensemble is not None
    return [member.run_id for member in done[1].ensemble.members]


def chosen(done: tuple[RunFolder, Run]) -> str:
    assert done[1].ensemble is not None
    return done[1].ensemble.chosen


@pytest.mark.parametrize("how", ["all of the board", "named", "by corpus and protocol"])
def test_members_are_chosen_among_the_runs_of_a_board(
    board: list[str], fuse: Fuse, pair: list[Sequence[Contender]], how: str
) -> None:
    named = board[:3] if how == "named" else []
    options = {"data": "tones", "protocol": "stratified5"} if how.startswith("by") else {}
    done = fuse(*named, choose=True, **options)
    assert len(pair[0]) == (3 if named else len(board))
    assert set(ids_of(done)) <= set(named or board)
    assert len(ids_of(done)) == 2
    assert chosen(done) == "inside training parts"


def test_the_scores_of_test_clips_have_no_influence(
    board: list[str], fuse: Fuse, pair: list[Sequence[Contender]]
) -> None:
    first = ids_of(fuse(choose=True))
    for run_id in board:
        folder = find_run(Path("results"), run_id)
        rewrite(folder, lambda said: said.with_probabilities(np.roll(said.probabilities, 1, axis=1)))
    again = fuse(choose=True)
    assert ids_of(again) == first
    assert [one.score for one in pair[0]] == [one.score for one in pair[1]]


@pytest.mark.usefixtures("pair")
def test_what_was_fitted_to_choose_is_not_fitted_again(
    board: list[str], fuse: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = fuse(choose=True)

    def no_fit(*_: Any) -> Any:
        raise AssertionError("it was fitted already")

    monkeypatch.setattr("marsbench.tuning.cached_fits.fit_and_predict", no_fit)
    assert fuse(choose=True)[1].metrics == done[1].metrics
    assert fuse(*board[:3], choose=True)[1].status == "complete"


def test_members_named_by_hand_are_told_to_be_optimistic_everywhere(
    board: list[str], fuse: Fuse, bench: Bench
) -> None:
    done = fuse(*board[:2])
    assert chosen(done) == "by hand"
    (made,), _ = leaderboards(Path("results"))
    row = next(row for row in made.rows if row.members)
    assert "chosen by hand: optimistic" in row_details(row)
    told = "members chosen by hand, having seen this board: optimistic"
    text = " ".join(bench("leaderboard").stdout.split())
    assert told in text
    assert told in " ".join(bench("show", done[1].run_id).stdout.split())
    rows = json.loads(bench("leaderboard", "--json").stdout)
    assert {one["members_chosen"] for one in rows} == {None, "by hand"}
    bench("report", done[1].run_id, "-o", "page.html")
    assert told in Path("page.html").read_text("utf-8").lower()


@pytest.mark.usefixtures("board", "pair")
def test_chosen_members_stay_so_when_they_are_named_again(fuse: Fuse) -> None:
    done = fuse(choose=True)
    again = fuse(*ids_of(done))
    assert again[0].path == done[0].path
    assert chosen(again) == "inside training parts"


def test_a_record_that_does_not_say_is_of_members_chosen_by_hand(board: list[str], fuse: Fuse) -> None:
    record = fuse(*board[:2])[1].model_dump()
    del record["ensemble"]["chosen"]
    older = Run.model_validate(record)
    assert older.ensemble is not None
    assert older.ensemble.chosen == "by hand"


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        (0, {}, "none was named; --choose chooses among a board's"),
        (2, {"protocol": "stratified5"}, "--protocol names the board that --choose chooses from"),
        (2, {"choose": True, "protocol": "stratified5"}, "leave it out, or name no RUN"),
        (0, {"choose": True, "equal": True}, "leave --equal out"),
        (1, {"choose": True}, "an ensemble needs two runs or more; only"),
        (0, {"choose": True, "protocol": "speaker5"}, "Unknown protocol 'speaker5'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    board: list[str], fuse: Fuse, runs: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        fuse(*board[:runs], **options)


def test_where_one_run_alone_is_best_there_is_no_ensemble(board: list[str], fuse: Fuse) -> None:
    with pytest.raises(BenchError, match="no second run lowers the log loss"):
        fuse(*[name for name in board if name.startswith("crossings")], choose=True)
