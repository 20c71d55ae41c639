"""The report: one self-contained HTML page."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from importlib.metadata import version
from math import isfinite
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from marsbench.config import Criteria
from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import METRICS, RANKED_BY, objective_title
from marsbench.evaluation.scores import grade
from marsbench.progress import Advance, Progress, Silent
from marsbench.report import matrix as words
from marsbench.report import phrases
from marsbench.report.board_charts import BoardCharts
from marsbench.report.columns import Column, filled, formatted, threshold_text
from marsbench.report.corpus_view import view_corpora
from marsbench.report.run_view import CorpusAudio, RunView, find_audio, view_run
from marsbench.report.selection import MOST_ROWS, Selection
from marsbench.results.leaderboard import Board
from marsbench.results.matrix import Matrix, stored_matrices
from marsbench.results.reproduce import Reproduction, reproduce
from marsbench.results.row import Row
from marsbench.results.schema import CorpusRecord, Standing

MOST_GAPS = 30


def build_page(
    selection: Selection,
    criteria: Criteria | None = None,
    *,
    audio: bool = False,
    folders: tuple[Path, ...] = (),
    progress: Progress | None = None,
) -> str:
    """The page as HTML.

    Args:
        selection: what the page is about.
        criteria: of all runs; None for each run's own.
        audio: whether to include the sound of misclassified clips.
        folders: drop-in folders of dataset plugins.
        progress: told of each part of the page.
    """
    progress = progress or Silent()
    notes = list(selection.notes)
    found: dict[str, CorpusAudio] = {}

    def audio_of(corpus: CorpusRecord) -> CorpusAudio:
        if corpus.fingerprint not in found:
            found[corpus.fingerprint] = find_audio(corpus, folders)
        return found[corpus.fingerprint]

    with progress.track("Runs in detail", len(selection.in_detail)) as advance:
        view = partial(view_run, audio_of=audio_of, playable=audio)
        runs = _runs(selection, criteria, notes, view, advance)
    anchors = {view.run.run_id: view.anchor for view in runs}
    boards = [view_board(board, selection, anchors) for board in selection.boards]
    rows = [row for board in boards for row in board.rows]
    pairs = speaker_gaps(view.row for view in rows if selection.is_about(view.row))
    with progress.track("Corpora", 1):
        corpora = view_corpora(runs, [view.standing for view in rows if view.standing], found)
    render = partial(
        _environment().get_template("page.html.j2").render,
        title=selection.title,
        boards=boards,
        runs=runs,
        n_speakers={one.run.protocol.hash: one.n_speakers for one in runs if one.n_speakers is not None},
        speaker_gaps=pairs[:MOST_GAPS],
        n_more_gaps=max(0, len(pairs) - MOST_GAPS),
        corpora=corpora,
        matrices=_matrices(selection, rows, notes),
        failed=[view.row for view in rows if view.row.status == "failed"],
        synthetic=sorted({board.board.corpus for board in boards if board.board.synthetic}),
        licences=sorted({(run.corpus.name, run.corpus.licence) for row in rows if (run := row.standing)}),
        notes=notes,
        with_audio=audio,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    with progress.track("Boards and charts", 1):
        return render()


def _runs(
    selection: Selection,
    criteria: Criteria | None,
    notes: list[str],
    view: Callable[..., RunView],
    advance: Advance,
) -> list[RunView]:
    """The runs in detail; a line is added to `notes` for each that cannot be read."""
    views = []
    rows = {
        run_id: (row, board) for board in selection.boards for row in board.rows for run_id in row.run_ids
    }
    for number, folder in enumerate(selection.in_detail, 1):
        row, board = rows.get(folder.path.name, (None, None))
        asked = criteria or (board.criteria if board else None)
        try:
            views.append(view(folder, f"run-{number}", asked, row))
        except ResultsError as error:
            notes.append(str(error))
        advance(1)
    return views


def _matrices(selection: Selection, rows: list["RowView"], notes: list[str]) -> list[Matrix]:
    """Scores by training and test corpus of the pipelines that the page is about."""
    about = [view.row for view in rows if selection.is_about(view.row)]
    asked = {(row.board.corpus, row.configuration) for row in about}
    joined = {view.row.board.corpus for view in rows if view.standing and view.standing.protocol.corpora}
    found: list[Matrix] = []
    for corpus in sorted(joined):
        of_corpus, left_out = stored_matrices(selection.root, corpus)
        found += [one for one in of_corpus if (one.row.board.corpus, one.row.configuration) in asked]
        notes += [line for line in left_out if line not in notes]
    return found


@dataclass(frozen=True)
class RowView:
    """One row of a leaderboard."""

    row: Row
    standing: Standing | None
    """The first seed's run, with the mean metrics of all seeds; None if its file is gone."""
    anchor: str | None
    """Where on this page the run is shown in detail; None if it is not."""
    is_focus: bool
    """Whether the page is about this row alone."""

    @property
    def reproduction(self) -> Reproduction | None:
        """The commands that make the runs of all its seeds again."""
        return reproduce(self.standing, self.row.seeds) if self.standing else None

    def level_with(self, others: "Iterable[RowView]") -> list[Row]:
        """The other rows without a significant difference from this one."""
        rows = (other.row for other in others if other.row.run_id != self.row.run_id)
        return [row for row in rows if row.is_level_with(self.row)]


@dataclass(frozen=True)
class BoardView:
    """A leaderboard as the page shows it."""

    board: Board
    rows: list[RowView]
    n_hidden: int
    """Rows beyond `MOST_ROWS`."""

    @property
    def columns(self) -> list[Column]:
        """The columns that tell something of these rows."""
        return filled("page", [view.row for view in self.rows])

    @cached_property
    def charts(self) -> BoardCharts:
        """Pictures of all rows."""
        return BoardCharts(self.board)

    @property
    def best(self) -> RowView | None:
        """The best row; None if no run is complete."""
        return next((row for row in self.rows if row.row.rank is not None), None)


def view_board(board: Board, selection: Selection, anchors: dict[str, str]) -> BoardView:
    """A leaderboard's view; `anchors` are those of the runs in detail, by run id."""
    shown = {row.run_id for row in board.shown_rows}
    rows = [row for row in board.rows if row.run_id in shown or selection.is_named(row)]
    n_hidden, rows = max(0, len(rows) - MOST_ROWS), rows[:MOST_ROWS]
    views = [
        RowView(
            row=row,
            standing=selection.standings.get(row.run_id),
            anchor=next((anchors[run_id] for run_id in row.run_ids if run_id in anchors), None),
            is_focus=len(selection.focus) == 1 and selection.is_about(row),
        )
        for row in rows
    ]
    return BoardView(board, views, n_hidden)


def speaker_gaps(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Each pipeline that was run under both kinds of protocol: on shared and on new speakers, best first."""
    found: dict[tuple[str, str, str], tuple[Row, Row]] = {}
    for row in rows:
        if row.other is not None and row.speaker_gap is not None:
            pair = (row.other, row) if row.board.speakers_apart else (row, row.other)
            found[row.board.corpus, row.board.fingerprint, row.configuration] = pair
    return sorted(found.values(), key=lambda pair: -pair[0].scores[RANKED_BY])


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("marsbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        lstrip_blocks=True,
    )
    environment.filters["pct"] = _percent
    environment.filters["threshold"] = threshold_text
    environment.filters["place"] = _place
    environment.globals |= {
        "version": version("marsbench"),
        "words": words,
        "phrases": phrases,
        "ranked_by": METRICS[RANKED_BY],
        "by_fold": [metric for metric in METRICS.values() if metric.from_confusion],
        "objective_title": objective_title,
        "grade": grade,
        "formatted": formatted,
    }
    return environment


def _percent(value: float | None, threshold: float | None = None, digits: int = 1) -> str:
    """A share in %, without the sign, beside the threshold that it is held against, if any."""
    return "-" if value is None or not isfinite(value) else formatted(value, "share", digits, threshold)


def _place(value: float) -> str:
    """A share as a CSS length, cut to 0 to 100 %."""
    return f"{100 * min(max(value, 0.0), 1.0):.2f}%" if isfinite(value) else "0%"
