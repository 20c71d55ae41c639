"""Leaderboards as tables for a terminal."""

from collections.abc import Callable, Sequence
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.text import Text

from marsbench.config import Criteria
from marsbench.evaluation.scores import Outcome
from marsbench.report.columns import Column, formatted, shown_in
from marsbench.report.phrases import board_notes, row_details, thresholds
from marsbench.report.terminal.console import table as empty_table
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

_COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow"}
_HEADER_WIDTH = 9
_SIGN = "  "
"""Spaces in place of the sign after a score, so that the lines below it are aligned."""


def board(shown: Board, top: int = 30, width: int = 80) -> RenderableType:
    """A leaderboard's `top` rows (0: all), several lines per row so that it fits `width` columns."""
    rows = shown.rows[: top or None]
    synthetic = ", synthetic" if shown.synthetic else ""
    table = empty_table(title=f"\nLeaderboard: {shown.corpus}{synthetic}, {shown.protocol}, {shown.hash[:8]}")
    table.padding = (0, 0, 0, 0)
    columns = shown_in("terminal", width)
    stacks = [
        (column, [other for other in columns if other.below == column.name])
        for column in columns
        if not column.below
    ]
    for column, _ in stacks:
        table.add_column(
            _header(column), justify="left" if column.unit is None else "right",
            no_wrap=column.name != "verdict", min_width=_HEADER_WIDTH if column.name == "verdict" else None,
            overflow="fold",
        )  # fmt: skip
    for row in rows:
        table.add_row(*(_stack(column, below, row, shown.criteria) for column, below in stacks))
    failed = [Text(f"{row.run_id} failed: {row.reason}", "red") for row in rows if row.status == "failed"]
    legend = [*board_notes(shown, rows), _legend(shown.criteria, columns)]
    return Group(table, *(Text(line, "dim") for line in legend), *failed)


def outcome_text(outcome: Outcome | None) -> Text:
    """A verdict in capitals and its colour; empty for a run without one."""
    return Text(outcome.upper(), _COLOURS[outcome]) if outcome else Text()


def _legend(asked: Criteria, columns: Sequence[Column]) -> str:
    """Meaning of the signs and short headers."""
    headers = " ".join(f"{column.header}: {column.title}." for column in columns if _needs_label(column))
    return (
        f"In %; + above, - not above the threshold: {thresholds(asked)}. {headers} "
        "ms: time from a clip's file to its class."
    )


def _header(column: Column) -> str:
    if column.name == "pipeline":
        return "features\n+ model"
    lines = wrap(column.header, _HEADER_WIDTH)
    return "\n".join([*lines, *(["95 %"] if column.has_interval and len(lines) == 1 else [])])


def _stack(column: Column, below: Sequence[Column], row: Row, criteria: Criteria) -> Text:
    """A cell of several lines: the column's own value, then those of the columns below it."""
    own = _OWN[column.name](row) if column.name in _OWN else _score(column, row, criteria)
    sign = _SIGN if column.criterion else ""
    lines = [own, *(Text(_labelled(other, row, criteria, sign), "dim") for other in below)]
    return Text("\n").join(line for line in lines if line)


def _score(column: Column, row: Row, criteria: Criteria) -> Text:
    """A value, above it its note, below it its interval."""
    cell = column.cell(row, criteria)
    value = Text(cell.text)
    if cell.reached is not None:
        value = Text(f"{cell.text} {'+' if cell.reached else '-'}", "green" if cell.reached else "red")
    interval = ""
    if cell.low is not None and cell.high is not None:
        interval = "-".join(formatted(end, column.unit or "none", 0) for end in (cell.low, cell.high)) + _SIGN
    return Text("\n").join(line for line in (Text(cell.note), value, Text(interval, "dim")) if line)


def _labelled(column: Column, row: Row, criteria: Criteria, sign: str) -> str:
    text = column.cell(row, criteria).text
    return f"{column.header} {text}{sign}" if text and _needs_label(column) else text


def _needs_label(column: Column) -> bool:
    """Whether the value is shown below another column and its unit does not say what it is."""
    return bool(column.below) and column.unit in {"share", "nats", "none"}


def _rank(row: Row) -> Text:
    return Text("-" if row.rank is None else str(row.rank))


def _pipeline(row: Row) -> Text:
    details = [(f"\n{words}", "dim") for words in row_details(row)]
    return Text.assemble(f"{row.features}\n+ {row.model} ", (row.short_id, "dim"), *details)


def _verdict(row: Row) -> Text:
    return Text("failed", "red") if row.status == "failed" else outcome_text(row.verdict)


_OWN: dict[str, Callable[[Row], Text]] = {"rank": _rank, "pipeline": _pipeline, "verdict": _verdict}
"""Renderers of the columns that are not numbers."""
