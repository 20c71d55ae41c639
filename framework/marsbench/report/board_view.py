"""A leaderboard as the page shows it."""

from dataclasses import dataclass

from marsbench.report.columns import Column, shown_in
from marsbench.report.phrases import row_details
from marsbench.report.selection import Selection
from marsbench.results.leaderboard import Board
from marsbench.results.reproduce import Reproduction, reproduce
from marsbench.results.row import Row
from marsbench.results.schema import Standing

MOST_ROWS = 200


@dataclass(frozen=True)
class RowView:
    """A row with the intervals of its scores."""

    row: Row
    standing: Standing | None
    anchor: str | None
    """Of the run in depth on this page."""
    is_focus: bool

    @property
    def details(self) -> list[str]:
        """Settings, seeds, tuning, members, and the score under the other kind of split."""
        return row_details(self.row)

    @property
    def reproduction(self) -> Reproduction | None:
        """What makes the row once more, all its seeds."""
        return reproduce(self.standing, self.row.seeds) if self.standing else None


@dataclass(frozen=True)
class BoardView:
    """A leaderboard with what its columns need."""

    board: Board
    rows: list[RowView]
    n_hidden: int

    @property
    def columns(self) -> list[Column]:
        """The columns of the table."""
        return shown_in("page")

    @property
    def best(self) -> RowView | None:
        """The first of those with a rank."""
        return next((row for row in self.rows if row.row.rank is not None), None)


def view_board(board: Board, selection: Selection, anchors: dict[str, str]) -> BoardView:
    """A leaderboard's view; `anchors` are those of the runs in depth, by id."""
    rows = board.rows[:MOST_ROWS]
    views = [
        RowView(
            row=row,
            standing=selection.standings.get(row.run_id),
            anchor=next((anchors[run_id] for run_id in row.run_ids if run_id in anchors), None),
            is_focus=len(selection.focus) == 1 and selection.is_about(row),
        )
        for row in rows
    ]
    return BoardView(board, views, len(board.rows) - len(rows))
