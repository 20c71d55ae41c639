"""How commands write to standard output and standard error, beside Rich's tables.

Names of clips, labels and messages of servers may hold characters that a terminal obeys: whatever is written
here shows them instead (`errors.cleaned`), as the consoles of `report.terminal` do.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from marsbench.errors import cleaned

_TOLD = 10


def print_text(text: str) -> None:
    """Print lines as they are, neither wrapped nor styled."""
    _write(cleaned(text, kept="\n") + "\n")


def print_json(values: object) -> None:
    """Print values for other programs, in ASCII."""
    _write(json.dumps(values, indent=1).replace("\x7f", "\\u007f") + "\n")


def print_csv(rows: Iterable[Iterable[object]]) -> None:
    """Print rows for other programs."""
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows([_cell(value) for value in row] for row in rows)
    _write(lines.getvalue())


def _write(text: str) -> None:
    # Typer's own function writes UTF-8 where standard output is said to be ASCII.
    if sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _cell(value: object) -> object:
    return (
        cleaned(value if isinstance(value, str) else str(value))
        if isinstance(value, (str, os.PathLike))
        else value
    )


def warn(line: str, style: str = "yellow") -> None:
    """Print one line to standard error, in colour on a terminal unless NO_COLOR is set."""
    from marsbench.report.terminal.console import err

    err.print(cleaned(line), style=style, markup=False, soft_wrap=True)


def tell_left_out(lines: Sequence[str]) -> None:
    """Print the last ten of the lines on what was left out, and the number of the others."""
    for line in lines[-_TOLD:]:
        warn(f"left out: {line}")
    if len(lines) > _TOLD:
        warn(f"left out: {len(lines) - _TOLD} more")


def replace_unknown_characters() -> None:
    """Let standard output show ? for a character that its encoding lacks, where it would end the program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def drop_unwritten() -> None:
    """Drop what standard output cannot take, so that Python does not fail on it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except (AttributeError, ValueError):  # there is none, or it was closed
        return
