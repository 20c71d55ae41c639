"""Leaderboards as Markdown tables, as GitHub renders them."""

import re

from marsbench.config import Criteria
from marsbench.report.columns import Column, formatted, shown_in
from marsbench.report.phrases import board_notes, row_details, thresholds
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

_SPECIAL = re.compile(r"[\\`*<>|~&\[\]]|(?<![^\W_])_|_(?![^\W_])")
"""Characters with a meaning in Markdown; an underscore inside a word has none."""


def board(shown: Board, top: int = 30) -> str:
    """A leaderboard's `top` rows (0: all), and one line of notes below them."""
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
    notes = [f"In %, with 95 % intervals; to pass, exceed {thresholds(shown.criteria)}."]
    notes += map(escaped, [*board_notes(shown, rows), *failed])
    return "\n".join([title, "", *table, "", " ".join(notes)])


def escaped(text: str) -> str:
    """Text for a cell, on one line and without Markdown."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


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
