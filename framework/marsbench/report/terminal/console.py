"""Terminal output: results to standard output, progress to standard error."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from marsbench.errors import cleaned
from marsbench.progress import PHASES, Advance


class _CleanConsole(Console):
    """A console on which names show their control characters; a terminal does not obey them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of anything; all words in it come here as `Text`, before they are styled."""
        return super().render(_clean(renderable) if isinstance(renderable, Text) else renderable, options)


def _clean(text: Text) -> Text:
    """The text with signs for control characters, its styles where they were."""
    plain = cleaned(text.plain, kept="\n\t")
    if plain != text.plain:
        text = text.copy()
        text.plain = plain
    return text


def new_console(*, stderr: bool = False) -> Console:
    """A console for standard output or standard error, without colours if NO_COLOR is set."""
    plain = bool(os.environ.get("NO_COLOR"))  # with it, Rich would still print bold and dim
    return _CleanConsole(stderr=stderr, highlight=False, emoji=False, color_system=None if plain else "auto")


out = new_console()
err = new_console(stderr=True)


def table(
    *headers: str,
    numbers: Iterable[str] = (),
    folded: Iterable[str] = (),
    rows: Iterable[Iterable[object]] = (),
    title: str | None = None,
) -> Table:
    """A table with little padding, so that it fits 80 columns.

    Args:
        headers: of columns of words, the first ones.
        numbers: headers of the columns after them, which are aligned right.
        folded: headers of the last columns, in which long words are folded and not cut.
        rows: cells as `Text`, or anything whose `str` is shown without markup.
        title: shown above, without markup.
    """
    made = Table(
        title=escape(title) if title else None, title_justify="left", title_style="bold", header_style="dim",
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
    )  # fmt: skip
    for header in headers:
        made.add_column(Text(header))
    for header in numbers:
        made.add_column(Text(header), justify="right")
    for header in folded:
        made.add_column(Text(header), overflow="fold")
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def frameless(*headers: str, rows: Iterable[Iterable[object]], title: str | None = None) -> Table:
    """A table without lines; its rows are as those of `table`."""
    made = Table(
        *headers, box=None, show_header=bool(headers), header_style="dim", title=title, title_justify="left"
    )
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def _cell(content: object) -> Text:
    # Here too, because the width of a column is measured before it is rendered.
    return _clean(content if isinstance(content, Text) else Text(str(content)))


def n_more(n_hidden: int) -> list[Text]:
    """A line on rows of a table that are not shown, if there are any."""
    return [Text(f"… and {n_hidden:,} more; --top 0 shows all.", "dim")] if n_hidden > 0 else []


def first_lines(lines: Sequence[str], most: int, way: str, style: str = "") -> list[Text]:
    """The first lines, indented, and how many more there are, with the `way` to see all."""
    shown = [f"  {line}" for line in lines[:most]]
    if (more := len(lines) - most) > 0:
        shown.append(f"  and {more:,} more; {way} lists all")
    return [Text(line, style) for line in shown]


def print_path(what: str, path: Path) -> None:
    """Print the path of something on one line, however long, so that it can be copied."""
    out.print(f"{what}: {path}", soft_wrap=True, markup=False, style="dim")


@contextmanager
def telling_phases(is_wanted: bool) -> Iterator[None]:
    """Print at the end of the context, however it ends, how long each phase of the process took."""
    try:
        yield
    finally:
        if is_wanted:
            line = PHASES.line(time.time() - psutil.Process().create_time())
            err.print(line, soft_wrap=True, markup=False, highlight=False)


class _Times(ProgressColumn):
    """How long a task has taken, and how long the rest may take at the same pace."""

    def render(self, task: Task) -> Text:
        """Both, each with its word; what is left only once a step is done."""
        elapsed = task.elapsed or 0.0
        words = f"{_clock(elapsed)} elapsed"
        if task.total and 0 < task.completed < task.total:
            words += f", {_clock(elapsed * (task.total / task.completed - 1))} left"
        return Text(words, "dim")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class TerminalProgress:
    """Progress bars on a terminal; elsewhere one line for each finished task."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            _Times(table_column=Column(no_wrap=True)),
            console=err,
            transient=True,
            disable=not err.is_terminal or err.is_dumb_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:
        """Show a bar until the context ends."""
        task = self._bars.add_task(label, total=total)
        start = time.monotonic()
        try:
            yield lambda steps: self._bars.advance(task, steps)
        finally:
            self._bars.remove_task(task)
        if self._bars.disable and not passing:
            err.print(f"{label}: {time.monotonic() - start:.1f} s", soft_wrap=True, markup=False)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        style = "bold yellow" if line.startswith("Warning") else None
        err.print(line, soft_wrap=True, markup=False, style=style)
