"""Leaderboards as tables: for a terminal and as Markdown, as GitHub renders it."""

import re
from collections.abc import Sequence
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.text import Text

from marsbench.config import Criteria
from marsbench.errors import cleaned
from marsbench.evaluation.scores import Outcome
from marsbench.report.columns import Column, formatted, shown_in
from marsbench.report.phrases import board_notes, row_details, thresholds
from marsbench.report.terminal.console import table
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow"}
_HEADER_WIDTH = 9
_LETTERS_WIDTH = 3
_SIGN = "  "
"""Spaces in place of the sign after a score, so that the lines below it are aligned."""
_SPECIAL = re.compile(r"[\\`*<>|~&\[\]]|(?<![^\W_])_|_(?![^\W_])")
"""Characters with a meaning in Markdown; an underscore inside a word has none."""


def terminal_board(shown: Board, top: int = 30, width: int = 80) -> RenderableType:
    """A leaderboard's `top` rows (0: all), several lines per row so that it fits `width` columns."""
    rows = shown.rows[: top or None]
    synthetic = ", synthetic" if shown.synthetic else ""
    columns = shown_in("terminal", width)
    own = [column for column in columns if not column.below]
    made = table(title=f"\nLeaderboard: {shown.corpus}{synthetic}, {shown.protocol}, {shown.hash[:8]}")
    made.padding = (0, 0, 0, 0)
    for column in own:
        made.add_column(
            _header(column), justify="left" if column.unit is None else "right",
            no_wrap=column.name not in {"rank", "verdict"}, overflow="fold",
            min_width=_HEADER_WIDTH if column.name == "verdict" else None,
            max_width=max(_LETTERS_WIDTH, len(str(len(rows)))) if column.name == "rank" else None,
        )  # fmt: skip
    for row in rows:
        made.add_row(*(_stack(column, columns, row, shown.criteria) for column in own))
    failed = [Text(f"{row.run_id} failed: {row.reason}", "red") for row in rows if row.status == "failed"]
    legend = [*board_notes(shown, rows), _legend(shown.criteria, columns)]
    return Group(made, *(Text(line, "dim") for line in legend), *failed)


def outcome_text(outcome: Outcome | None) -> Text:
    """A verdict in capitals and its colour; empty for a run without one."""
    return Text(outcome.upper(), COLOURS[outcome]) if outcome else Text()


def _legend(asked: Criteria, columns: Sequence[Column]) -> str:
    """Meaning of the signs and short headers."""
    return (
        f"In %; + above, - not above the threshold: {thresholds(asked)}. {_headers(columns)} "
        "ms: time from a clip's file to its class."
    )


def _headers(columns: Sequence[Column]) -> str:
    """Meaning of short headers."""
    return " ".join(f"{column.header}: {column.title}." for column in columns if _needs_label(column))


def _header(column: Column) -> str:
    if column.name == "pipeline":
        return "features\n+ model"
    lines = wrap(column.header, _HEADER_WIDTH)
    return "\n".join([*lines, *(["95 %"] if column.has_interval and len(lines) == 1 else [])])


def _stack(column: Column, columns: Sequence[Column], row: Row, criteria: Criteria) -> Text:
    """A cell of several lines: the column's own value, then those of the columns below it."""
    sign = _SIGN if column.criterion else ""
    below = (_labelled(other, row, criteria, sign) for other in columns if other.below == column.name)
    lines = [_own(column, row, criteria), *(Text(line, "dim") for line in below)]
    return Text("\n").join(line for line in lines if line)


def _own(column: Column, row: Row, criteria: Criteria) -> Text:
    if column.name == "rank":
        return Text("-" if row.rank is None else str(row.rank))
    if column.name == "pipeline":
        details = [(f"\n{words}", "dim") for words in row_details(row)]
        return Text.assemble(f"{row.features}\n+ {row.model} ", (row.short_id, "dim"), *details)
    if column.name == "verdict":
        return Text("failed", "red") if row.status == "failed" else outcome_text(row.verdict)
    return _score(column, row, criteria)


def _score(column: Column, row: Row, criteria: Criteria) -> Text:
    """A value, above it its note, below it its interval."""
    cell = column.cell(row, criteria)
    value = Text(cell.text)
    if cell.reached is not None:
        value = Text(f"{cell.text} {'+' if cell.reached else '-'}", "green" if cell.reached else "red")
    interval = ""
    if cell.low is not None and cell.high is not None:
        interval = (
            "-".join(
                formatted(end, column.unit or "none", 0, cell.threshold) for end in (cell.low, cell.high)
            )
            + _SIGN
        )
    return Text("\n").join(line for line in (Text(cell.note), value, Text(interval, "dim")) if line)


def _labelled(column: Column, row: Row, criteria: Criteria, sign: str) -> str:
    text = column.cell(row, criteria).text
    return f"{column.header} {text}{sign}" if text and _needs_label(column) else text


def _needs_label(column: Column) -> bool:
    """Whether the value is shown below another column and its unit does not say what it is."""
    return bool(column.below) and column.unit in {"share", "nats", "none"}


def markdown_board(shown: Board, top: int = 30) -> str:
    """A leaderboard's `top` rows (0: all), and one line of notes below them."""
    rows = shown.rows[: top or None]
    synthetic = ", synthetic" if shown.synthetic else ""
    title = f"**{escaped(shown.corpus)}{synthetic}, {escaped(shown.protocol)}**, protocol {shown.hash[:8]}"
    columns = shown_in("markdown")
    table = [
        markdown_line([column.header for column in columns]),
        markdown_line([":--" if column.unit is None or column.note else "--:" for column in columns]),
        *(markdown_line([_markdown_cell(column, row, shown.criteria) for column in columns]) for row in rows),
    ]
    failed = [f"{row.run_id} failed: {row.reason}." for row in rows if row.status == "failed"]
    notes = [f"In %, with 95 % intervals; to pass, exceed {thresholds(shown.criteria)}. {_headers(columns)}"]
    notes += map(escaped, [*board_notes(shown, rows), *failed])
    return "\n".join([title, "", *table, "", " ".join(notes)])


def escaped(text: str) -> str:
    """Text for a cell, on one line and without Markdown."""
    return _SPECIAL.sub(r"\\\g<0>", cleaned(" ".join(text.split())))


def markdown_line(cells: list[str]) -> str:
    """A row of a Markdown table, of cells that are Markdown."""
    return f"| {' | '.join(cells)} |"


def _markdown_cell(column: Column, row: Row, criteria: Criteria) -> str:
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
        low, high = (
            formatted(end, column.unit or "none", column.digits, cell.threshold)
            for end in (cell.low, cell.high)
        )
        interval = f"({low} to {high})"
    return " ".join(word for word in (escaped(cell.note), cell.text, interval) if word)
