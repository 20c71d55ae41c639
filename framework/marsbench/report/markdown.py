"""Leaderboards as Markdown tables, as GitHub shows them."""

import re

from marsbench.config import Criteria
from marsbench.report.terminal.runs import facts, percent, pipeline_words
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

_COLUMNS = {
    "#": "--:",
    "pipeline": ":--",
    "accuracy": "--:",
    "macro F1": "--:",
    "UAR": "--:",
    "worst class": ":--",
    "verdict": ":--",
    "run": ":--",
}
"""Headers, and to which side each column is set."""
_SPECIAL = re.compile(r"[\\`*<>|~&\[\]]|(?<![^\W_])_|_(?![^\W_])")
"""Signs that Markdown takes for its own; it leaves an underscore inside a word alone."""


def board(shown: Board, top: int = 30) -> str:
    """A leaderboard's `top` rows, or with 0 all, and below them one line on what they mean."""
    rows = shown.rows[: top or None]
    synthetic = ", synthetic" if shown.synthetic else ""
    title = f"**{escaped(shown.corpus)}{synthetic}, {escaped(shown.protocol)}**, protocol {shown.hash[:8]}"
    table = [_line(list(_COLUMNS)), _line(list(_COLUMNS.values())), *(_line(_cells(row)) for row in rows)]
    failed = [f"{row.run_id} failed: {row.reason}." for row in rows if row.status == "failed"]
    below = " ".join([_thresholds(shown.criteria), *map(escaped, [*facts(shown, rows), *failed])])
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


def _cells(row: Row) -> list[str]:
    pipeline = escaped(", ".join([f"{row.features} + {row.model}", *pipeline_words(row)]))
    worst = _score(row.worst_recall, row.worst_recall_low, row.worst_recall_high)
    return [
        "-" if row.rank is None else str(row.rank),
        pipeline,
        _score(row.accuracy, row.accuracy_low, row.accuracy_high),
        _score(row.macro_f1, row.macro_f1_low, row.macro_f1_high),
        "" if row.uar is None else percent(row.uar),
        f"{escaped(row.worst_class or '')} {worst}".strip(),
        row.verdict or row.status,
        f"`{row.short_id}`",
    ]


def _score(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return ""
    return f"{percent(value)} ({percent(low)} to {percent(high)})"
