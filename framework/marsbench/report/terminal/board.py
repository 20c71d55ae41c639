"""A leaderboard in a terminal: one line a pipeline, as many columns as there is room for."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor

from rich.console import Console, ConsoleOptions, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from marsbench.config import Criteria
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.report.board_notes import board_notes, caution_lines, group_starts, shown_pipelines
from marsbench.report.boards import COLOURS, outcome_text
from marsbench.report.columns import Cell, Column, filled
from marsbench.report.phrases import row_details, thresholds
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

_SCORE, _INTERVAL, _THRESHOLD = "●━┊"
_ASCII = str.maketrans({"●": "o", "━": "=", "┊": "|", "✓": "+", "✗": "x", "…": "...", "±": "+-"})
_SIGNS = {"pass": "✓", "undecided": "?", "fail": "✗"}
_BAR = 12
"""Characters of a bar."""
_NAME = 48
"""What the column of pipelines has at least, if a name is as long; for it others are left out."""
_PERCENT = 100
_RULES = "Rules: the next row differs significantly from the group's first."


@dataclass(frozen=True)
class TerminalBoard:
    """A leaderboard's `top` rows (0: all), in the width that it is printed in."""

    board: Board
    top: int = 30
    explain: bool = False
    """Whether every sign, column and row is explained below."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Title, rows, cautions, one line of legend."""
        for line in self._parts(options.max_width):
            if options.ascii_only:
                for text in _texts(line):
                    text.plain = text.plain.translate(_ASCII)
            yield line

    def _parts(self, width: int) -> Iterator[Table | Text]:
        board, rows = self.board, self.board.shown_rows[: self.top or None]
        synthetic = ", synthetic" if board.synthetic else ""
        name = f"\nLeaderboard: {board.corpus}{synthetic}, {board.protocol}, {board.hash[:8]}"
        yield Text.assemble((name, "bold"), (f"; to pass: {thresholds(board.criteria)}", "dim"))
        columns = _fitting(board, rows, width)
        yield _grid(columns, _lines(board, rows, columns), group_starts(rows))
        for row in rows:
            if row.status == "failed":
                yield Text(f"{row.run_id} failed: {row.reason}", "red")
        if cautions := caution_lines(board, rows):
            yield Text(" ".join(cautions), "yellow")
        yield Text(_legend(board, explained=self.explain), "dim")
        if self.explain:
            yield from (Text(line, "dim") for line in _explained(board, rows, columns))


def _texts(part: Table | Text) -> list[Text]:
    if isinstance(part, Text):
        return [part]
    return [cell for column in part.columns for cell in column.cells if isinstance(cell, Text)]


def _fitting(board: Board, rows: Sequence[Row], width: int) -> list[Column]:
    """The columns that there is room for beside a readable name of each pipeline."""
    columns = filled("terminal", rows, width)
    while _width(columns, _lines(board, rows, columns)) > width:
        last = max(columns, key=lambda column: column.min_width)
        if not last.min_width:
            break
        columns.remove(last)
    return columns


def _width(columns: Sequence[Column], lines: Sequence[Sequence[Text]]) -> int:
    """Characters of the longest cells side by side, where long names are folded."""
    widths: list[int] = [max(cell.cell_len for cell in cells) for cells in zip(*lines, strict=True)]
    names = next(place for place, column in enumerate(columns) if column.name == "pipeline")
    return sum(widths) - max(0, widths[names] - _NAME) + len(widths) - 1


def _grid(columns: Sequence[Column], lines: Sequence[Sequence[Text]], starts: Container[int]) -> Table:
    """The cells side by side; a rule above each row that begins a group, the header is line -1."""
    made = Table.grid(padding=(0, 1, 0, 0))
    for column in columns:
        is_words = column.unit is None or bool(column.note)
        made.add_column(
            justify="left" if is_words else "right", no_wrap=column.name != "pipeline", overflow="fold"
        )
        if column.name == RANKED_BY:
            made.add_column(no_wrap=True)
    for place, line in enumerate(lines, -1):
        if place in starts:
            made.add_row(*(Rule(style="dim") for _ in line))
        made.add_row(*line)
    return made


def _lines(board: Board, rows: Sequence[Row], columns: Sequence[Column]) -> list[list[Text]]:
    """The header, and a line a row."""
    axis = _Axis.of(rows, board.criteria)
    lines = [_header(columns, axis)]
    for row, name in zip(rows, shown_pipelines(board, rows), strict=True):
        made = []
        for column in columns:
            cell = column.cell(row, board.criteria)
            made.append(Text(name) if column.name == "pipeline" else _cell(column, cell, row))
            if column.name == RANKED_BY:
                made.append(axis.bar(cell))
        lines.append(made)
    return lines


def _header(columns: Sequence[Column], axis: "_Axis") -> list[Text]:
    made = []
    for column in columns:
        made.append(Text(column.header, "bold"))
        if column.name == RANKED_BY:
            made.append(Text(axis.header, "bold"))
    return made


def _cell(column: Column, cell: Cell, row: Row) -> Text:
    if column.name == "rank":
        return Text("-" if row.rank is None else str(row.rank))
    if column.name == "verdict":
        if row.verdict is None or row.status == "failed":
            return Text(row.status, "red" if row.status == "failed" else "")
        return Text(f"{_SIGNS[row.verdict]} ", COLOURS[row.verdict]).append_text(outcome_text(row.verdict))
    if cell.reached is None:
        return Text(cell.text)
    missed = "" if cell.reached else "-"
    note = f" {cell.note}" if cell.note else " "[len(missed) :]
    return Text(f"{cell.text}{missed}", "green" if cell.reached else "red").append(note, "default")


@dataclass(frozen=True)
class _Axis:
    """Where a share stands in a bar."""

    low: int
    high: int
    threshold: float

    @classmethod
    def of(cls, rows: Sequence[Row], criteria: Criteria) -> "_Axis":
        """From below the lowest interval to above the highest, in tens of %, with the threshold between."""
        threshold: float = getattr(criteria, RANKED_BY)
        ends = [
            row.scores[f"{RANKED_BY}{end}"]
            for row in rows
            for end in ("_low", "_high")
            if row.scores.get(RANKED_BY) is not None
        ]
        shares = [10 * share for share in (*ends, threshold)]
        low, high = 10 * floor(min(shares)), 10 * ceil(max(shares))
        return cls(low, max(high, low + 10), threshold)

    @property
    def header(self) -> str:
        """Both ends of the axis in %, and the threshold."""
        line = list(f"{self.low}".ljust(_BAR - len(str(self.high))) + str(self.high))
        if line[self._mark] == " ":
            line[self._mark] = _THRESHOLD
        return "".join(line)

    @property
    def _mark(self) -> int:
        return min(max(self._place_on_axis(self.threshold), 1), _BAR - 2)

    def _place_on_axis(self, share: float) -> int:
        return round((_BAR - 1) * (_PERCENT * share - self.low) / (self.high - self.low))

    def _place(self, share: float) -> int:
        """Where a share is drawn: left or right of the threshold if it is below or above, however near."""
        place, mark = self._place_on_axis(share), self._mark
        if share == self.threshold:
            return mark
        place = max(place, mark + 1) if share > self.threshold else min(place, mark - 1)
        return min(max(place, 0), _BAR - 1)

    def bar(self, cell: Cell) -> Text:
        """The interval with its score; it covers the mark if and only if it holds the threshold."""
        line = [" "] * _BAR
        line[self._mark] = _THRESHOLD
        if cell.low is None or cell.high is None:
            return Text("".join(line), "dim")
        first, last = self._place(cell.low), self._place(cell.high)
        line[first : last + 1] = _INTERVAL * (last - first + 1)
        line[self._place(cell.value)] = _SCORE
        made = Text("".join(line))
        made.stylize(
            "green" if cell.low > self.threshold else "red" if cell.high < self.threshold else "yellow",
            first,
            last + 1,
        )
        return made


def _legend(board: Board, *, explained: bool) -> str:
    words = [f"In %. {_SCORE} score {_INTERVAL} 95 % interval {_THRESHOLD} threshold; - not above it."]
    if board.n_compared:
        rules = group_starts(board.shown_rows)
        words += [_RULES if rules else "No rule: no compared row differs significantly from the first."]
    words += [] if explained else ["--explain: every sign."]
    return " ".join(words)


def _explained(board: Board, rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[str]:
    """Meaning of signs, columns and notes, and what each row's configuration and cost of choice are."""
    yield f"Bar: {METRICS[RANKED_BY].title}; it covers {_THRESHOLD} if the interval holds the threshold."
    if board.n_compared:
        yield (
            "Rules stand where a row differs significantly from the first row of the group above; rows of "
            "one group have no significant difference from its first, but may differ from each other."
        )
    yield from (
        f"{column.header}: {column.title or column.name}. {column.explanation}"
        for column in columns
        if column.title
    )
    yield "Verdict: PASS if every interval is above its threshold, FAIL if one is below, else UNDECIDED."
    yield from (line for line in board_notes(board, rows) if line not in caution_lines(board, rows))
    for row in rows:
        details = "; ".join(row_details(row)) or "no settings"
        yield f"#{row.rank or '-'} {row.pipeline} ({row.short_id}): {details}"
