"""A leaderboard as the page shows it."""

from dataclasses import dataclass
from typing import Any

from marsbench.evaluation.scores import ClassScores, Score
from marsbench.report.selection import Selection
from marsbench.results.leaderboard import Board, Row
from marsbench.results.schema import Standing

MOST_ROWS = 200
_CALIBRATION = {
    "log_loss": "log loss",
    "ece": "calibration error",
    "calibration_error": "calibration error",
    "brier": "Brier score",
}
"""Columns that a row may have, by field."""


@dataclass(frozen=True)
class RowView:
    """A row with the intervals of its scores."""

    row: Row
    standing: Standing | None
    anchor: str | None
    """Of the run in depth on this page."""
    is_focus: bool
    calibration: list[float | None]

    @property
    def scores(self) -> list[Score | None]:
        """Accuracy, macro F1, UAR."""
        metrics = self.standing.metrics if self.standing else None
        return [metrics.accuracy, metrics.macro_f1, metrics.uar] if metrics else [None] * 3

    @property
    def worst(self) -> ClassScores | None:
        """The class with the lowest recall."""
        metrics = self.standing.metrics if self.standing else None
        return metrics.worst if metrics else None

    @property
    def mark(self) -> str:
        """What tells this run from others of its pipeline."""
        return self.row.run_id.rpartition("-")[2][:6]

    @property
    def details(self) -> list[str]:
        """Settings, seed and tuning."""
        row = self.row
        words = [f"{name.partition('.')[2]}={value}" for name, value in row.settings.items()]
        words += [f"seed {row.seed}"] if row.seed else []
        words += [f"tuned, {row.trials} trials"] if row.tuner else []
        words += [] if row.gain is None else [f"gain {100 * row.gain:+.1f}"]
        return words + ([] if row.optimism is None else [f"optimism {100 * row.optimism:+.1f}"])


@dataclass(frozen=True)
class BoardView:
    """A leaderboard with what its columns need."""

    board: Board
    rows: list[RowView]
    n_hidden: int
    calibration: list[str]
    """Names of the calibration columns."""

    @property
    def thresholds(self) -> list[float | None]:
        """Of accuracy, macro F1 and UAR."""
        return [self.board.criteria.accuracy, self.board.criteria.macro_f1, None]

    @property
    def best(self) -> RowView | None:
        """The first of those with a rank."""
        return next((row for row in self.rows if row.row.rank is not None), None)


def view_board(board: Board, selection: Selection, anchors: dict[str, str]) -> BoardView:
    """A leaderboard's view; `anchors` are those of the runs in depth, by id."""
    rows = board.rows[:MOST_ROWS]
    values: list[dict[str, Any]] = [row._asdict() for row in rows]
    fields = [name for name in _CALIBRATION if any(isinstance(row.get(name), float) for row in values)]
    views = [
        RowView(
            row=row,
            standing=selection.standings.get(row.run_id),
            anchor=anchors.get(row.run_id),
            is_focus=len(selection.focus) == 1 and row.run_id in selection.focus,
            calibration=[fact.get(name) for name in fields],
        )
        for row, fact in zip(rows, values, strict=True)
    ]
    return BoardView(board, views, len(board.rows) - len(rows), [_CALIBRATION[name] for name in fields])
