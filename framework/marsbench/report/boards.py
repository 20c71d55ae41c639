"""Leaderboards as tables for documents: Markdown, as GitHub renders it, and LaTeX for papers."""

import re
from collections.abc import Sequence

from rich.text import Text

from marsbench.config import Criteria
from marsbench.errors import cleaned
from marsbench.evaluation.scores import Outcome
from marsbench.report.board_notes import board_notes, shown_pipelines
from marsbench.report.columns import Column, filled, formatted
from marsbench.report.phrases import row_details, thresholds
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow"}
_SPECIAL = re.compile(r"[\\`*<>|~&\[\]]|(?<![^\W_])_|_(?![^\W_])")
"""Characters with a meaning in Markdown; an underscore inside a word has none."""


def outcome_text(outcome: Outcome | None) -> Text:
    """A verdict in capitals and its colour; empty for a run without one."""
    return Text(outcome.upper(), COLOURS[outcome]) if outcome else Text()


def headers_line(columns: Sequence[Column]) -> str:
    """Meaning of the headers that do not say it themselves."""
    return " ".join(
        f"{column.header}: {column.title}." for column in columns if column.title not in {"", column.header}
    )


def markdown_board(shown: Board, top: int = 30) -> str:
    """A leaderboard's `top` rows (0: all), and one line of notes below them."""
    rows = shown.shown_rows[: top or None]
    synthetic = ", synthetic" if shown.synthetic else ""
    title = f"**{escaped(shown.corpus)}{synthetic}, {escaped(shown.protocol)}**, protocol {shown.hash[:8]}"
    columns = filled("markdown", rows)
    table = [
        markdown_line([column.header for column in columns]),
        markdown_line([":--" if column.unit is None or column.note else "--:" for column in columns]),
        *(markdown_line([_markdown_cell(column, row, shown.criteria) for column in columns]) for row in rows),
    ]
    failed = [f"{row.run_id} failed: {row.reason}." for row in rows if row.status == "failed"]
    notes = [
        f"In %, with 95 % intervals; to pass, exceed {thresholds(shown.criteria)}. {headers_line(columns)}"
    ]
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
        return escaped(", ".join([row.pipeline, *row_details(row)]))
    if column.name == "run":
        return f"`{row.short_id}`"
    return escaped(_plain(column, row, criteria))


def _plain(column: Column, row: Row, criteria: Criteria) -> str:
    """A cell as text; graded scores with their intervals."""
    cell = column.cell(row, criteria)
    if column.name == "verdict":
        return row.verdict or row.status
    if column.name == "rank":
        return cell.text or "-"
    interval = ""
    if column.criterion and cell.low is not None and cell.high is not None:
        low, high = (
            formatted(end, column.unit or "none", column.digits, cell.threshold)
            for end in (cell.low, cell.high)
        )
        interval = f"({low} to {high})"
    return " ".join(word for word in (cell.note, cell.text, interval) if word)


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def latex_board(shown: Board, top: int = 30) -> str:
    """A leaderboard's `top` rows (0: all) as a LaTeX table, which needs the package booktabs."""
    rows = shown.shown_rows[: top or None]
    columns = filled("markdown", rows)
    names = shown_pipelines(shown, rows)
    lines = [" & ".join(in_latex(column.header) for column in columns)]
    for row, name in zip(rows, names, strict=True):
        cells = [
            name if column.name == "pipeline" else _plain(column, row, shown.criteria) for column in columns
        ]
        lines.append(" & ".join(map(in_latex, cells)))
    head, *body = [f"{line} \\\\" for line in lines]
    notes = [
        f"In %, with 95 % intervals; to pass, exceed {thresholds(shown.criteria)}. {headers_line(columns)}"
    ]
    synthetic = ", synthetic" if shown.synthetic else ""
    notes = [f"{shown.corpus}{synthetic}, {shown.protocol}, protocol {shown.hash[:8]}.", *notes]
    notes += board_notes(shown, rows)
    sides = "".join("l" if column.unit is None or column.note else "r" for column in columns)
    return "\n".join([
        r"\begin{table}", f"\\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *body,
        r"\bottomrule", r"\end{tabular}", f"\\caption{{{in_latex(' '.join(notes))}}}", r"\end{table}",
    ])  # fmt: skip


def in_latex(text: str) -> str:
    """Text on one line without LaTeX's signs."""
    return "".join(_LATEX.get(sign, sign) for sign in cleaned(" ".join(text.split())))
