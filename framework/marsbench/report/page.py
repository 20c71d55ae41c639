"""The report: one HTML page that needs nothing but itself."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from math import isfinite
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from marsbench.config import Criteria
from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import METRICS
from marsbench.report import phrases
from marsbench.report.audio import Sound, find_sound
from marsbench.report.board_view import view_board
from marsbench.report.columns import formatted
from marsbench.report.run_view import RunView, listen, view_run
from marsbench.report.selection import Selection
from marsbench.report.speaker_gap import MOST_GAPS, gaps


@dataclass(frozen=True)
class Options:
    """How a page is made."""

    criteria: Criteria | None = None
    """None for each run's own, and the usual ones for leaderboards."""
    audio: bool = False
    """Whether to carry the sound of confused clips."""
    folders: tuple[Path, ...] = ()
    """Drop-in folders in which dataset plugins are found."""


def build_page(selection: Selection, options: Options) -> str:
    """The page as text."""
    notes = list(selection.notes)
    runs = _runs(selection, options, notes)
    anchors = {view.run.run_id: view.anchor for view in runs}
    boards = [view_board(board, selection, anchors) for board in selection.boards]
    shown = [selection.standings[row.row.run_id] for board in boards for row in board.rows if row.standing]
    pairs = gaps(view.row for board in boards for view in board.rows if selection.is_about(view.row))
    return _environment().get_template("page.html.j2").render(
        title=selection.title,
        boards=boards,
        runs=runs,
        n_speakers=_n_speakers(runs),
        gaps=pairs[:MOST_GAPS],
        n_more_gaps=max(0, len(pairs) - MOST_GAPS),
        failed=[row for board in boards for row in board.rows if row.row.status == "failed"],
        synthetic=sorted({board.board.corpus for board in boards if board.board.synthetic}),
        licences=sorted({(run.corpus.name, run.corpus.licence) for run in shown}),
        notes=notes,
        with_audio=options.audio,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("marsbench"),
        by_fold=[metric for metric in METRICS.values() if metric.from_confusion],
        phrases=phrases,
        formatted=formatted,
    )  # fmt: skip


def _runs(selection: Selection, options: Options, notes: list[str]) -> list[RunView]:
    sounds: dict[str, Sound] = {}
    views = []
    rows = {
        run_id: (row, board) for board in selection.boards for row in board.rows for run_id in row.run_ids
    }
    for number, folder in enumerate(selection.in_depth, 1):
        row, board = rows.get(folder.path.name, (None, None))
        criteria = options.criteria or (board.criteria if board else None)
        try:
            view = view_run(folder, f"run-{number}", criteria, row.scores.get("gain") if row else None)
        except ResultsError as error:
            notes.append(str(error))
            continue
        views.append(_with_sound(view, sounds, options))
    return views


def _with_sound(view: RunView, sounds: dict[str, Sound], options: Options) -> RunView:
    """The run with pictures of its confused clips; each corpus is looked for once."""
    if not view.confused:
        return view
    corpus = view.run.corpus
    if corpus.fingerprint not in sounds:
        sounds[corpus.fingerprint] = find_sound(corpus.dataset, options.folders)
    sound = sounds[corpus.fingerprint]
    if sound.problem:
        return replace(view, sound_problem=sound.problem)
    return replace(view, confused=listen(view.confused, sound, with_audio=options.audio))


def _n_speakers(runs: list[RunView]) -> dict[str, int]:
    """By protocol hash, of those boards that have a run in depth."""
    return {view.run.protocol.hash: view.n_speakers for view in runs if view.n_speakers is not None}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("marsbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        lstrip_blocks=True,
    )
    environment.filters["pct"] = _percent
    environment.filters["place"] = _place
    return environment


def _percent(value: float | None, digits: int = 1) -> str:
    """A share as a number of percent."""
    return "-" if value is None or not isfinite(value) else f"{100 * value:.{digits}f}"


def _place(value: float) -> str:
    """A share as a CSS length, within its scale."""
    return f"{100 * min(max(value, 0.0), 1.0):.2f}%" if isfinite(value) else "0%"
