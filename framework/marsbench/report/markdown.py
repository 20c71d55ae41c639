"""Leaderboards as Markdown tables, as GitHub shows them."""

import re

from marsbench.config import Criteria
from marsbench.report.columns import Column, formatted, shown_in
from marsbench.report.phrases import board_facts, row_details
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

_SPECIAL = re.compile(r"[\\`*<>|~&\[\]]|(?<![^\W_])_|_(?![^\W_])")
"""Signs that Markdown takes for its own; it leaves an underscore inside a word alone."""


def board(shown: Board, top: int = 30) -> str:
    """A leaderboard's `top` rows, or with 0 all, and below them one line on what they mean."""
    rows = shown.rows[: top or None]
    synthetic = ", synthetic" if shown.synthetic else ""
    title = f"**{escaped(shown.corpus)}{synthetic}, {escaped(shown.protocol)}**, protocol {shown.hash[:8]}"
    columns = shown_in("markdown")
    table = [
        _line([column.header for column in columns]),
        _line([":--" if column.unit is None or column.note else "--:" for column in columns]),
        *(_line([_cell(column, row, shown.criteria) for column in columns]) for row in rows),
    ]
    failed = [f"{row.run_id} failed: {row.reason}." for row in rows if row.status == "failed"]
    below = " ".join([_thresholds(shown.criteria), *map(escaped, [*board_facts(shown, rows), *failed])])
    return "\n".join([title, "", *table, "", below])


def escaped(text: str) -> str:
    """Text that a cell can hold and that is shown as it is."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _thresholds(asked: Criteria) -> str:
    return (
        f"In %, with 95 % intervals. To pass: accuracy above {100 * asked.accuracy:g}, "
        f"macro F1 above {100 * asked.macro_f1:g}, every class above {100 * asked.class_recall:g}."
    )


def _cell(column: Column, row: Row, criteria: Criteria) -> str:
    if column.name == "pipeline":
        return escaped(", ".join([f"{row.features} + {row.model}", *row_details(row)]))
    if column.name == "verdict":
        return row.verdict or row.status
    if column.name == "run":
        return f"`{row.short_id}`"
    cell = column.cell(row, criteria)
    if column.name == "rank":
        return cell.text or "-"
    interval = ""
    if column.criterion and cell.low is not None and cell.high is not None:
        low, high = (formatted(end, column.unit or "none", column.digits) for end in (cell.low, cell.high))
        interval = f"({low} to {high})"
    return " ".join(word for word in (escaped(cell.note), cell.text, interval) if word)
