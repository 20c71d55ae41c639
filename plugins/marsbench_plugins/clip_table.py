"""Read tables of clips: path, label, and further columns; rows may be segments of files."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from marsbench.errors import CorpusError, shown, shown_path
from marsbench_plugins.delimited_text import DELIMITERS, Delimited, read_delimited, read_header, wrong_line
from marsbench_plugins.table_columns import (
    DURATION,
    END,
    LABEL,
    PATH,
    SPEAKER,
    SPLIT,
    START,
    Columns,
    find_columns,
    n_needed,
)

NO_COLUMNS: Mapping[str, str] = {}
"""Columns of a table whose header is to be understood by itself."""
TABLES = frozenset({".csv", ".tsv", ".txt"})
"""File name endings of tables."""
_USUAL = {".csv": ",", ".tsv": "\t"}
"""Delimiters that need not be told, by file name ending."""
_DIGITS = 9
"""Decimal places of times in seconds; a nanosecond is the unit of data frames."""
_CLOCK = re.compile(
    r"([+-]?)(?:(\d{1,6}) days?,? \+?)?(?:(\d{1,6}):)?(\d{1,6}):(\d{1,6}(?:[.,]\d+)?)", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Row:
    """One clip of a table, in line `line`."""

    line: int
    path: Path
    label: str
    speaker: str | None
    others: Mapping[str, str]
    """Non-empty values of further columns, by name."""
    start: float | None = None
    """Second at which a segment starts; None for a whole file."""
    end: float | None = None
    """Second at which it ends; None for the end of the file."""


def is_table(path: Path, given: Mapping[str, str] = NO_COLUMNS) -> bool:
    """Whether `path` is a table of clips: its header has a path and a label, as these names or `given` ones.

    Under other usual names they count if the first row's file exists: a manifest that is published beside the
    audio may name files that lie elsewhere.
    """
    if path.suffix.lower() not in TABLES or not path.is_file():
        return False
    try:
        rows = read_header(path, lambda names: n_needed(names, given)).records()
        names, first = next(rows, (1, []))[1], next(rows, (2, []))[1]
    except (OSError, CorpusError):
        return False
    if n_needed(names, given) < 2:
        return False
    try:
        columns = find_columns(names, given)
    except ValueError:  # reading the table says what is wrong
        return True
    if not {PATH, LABEL} & set(columns.guessed):
        return True
    at = columns.at[PATH]
    return at < len(first) and _audio_path(path.parent, first[at]).is_file()


def read_table(path: Path, given: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """All rows, and notes on what was guessed; relative paths are resolved against the table's folder.

    Args:
        path: the table.
        given: names of columns by role (`data.corpus_options.COLUMNS`), where they are not to be guessed.

    Raises:
        CorpusError: no text, a column missing or ambiguous, no rows, a row with too few or too many fields,
            an empty path or label, times that are none, or a clip listed twice; names the file and the line.
    """
    table = read_delimited(path, lambda names: n_needed(names, given))
    lines = table.records()
    line, names = next(lines, (1, []))
    try:
        columns = find_columns(names, given)
    except ValueError as error:
        raise wrong_line(path, line, str(error)) from error
    rows: list[Row] = []
    seen: dict[tuple[Path, float | None, float | None], int] = {}
    for line, fields in lines:
        row = _row(table, line, columns, fields)
        place = (row.path, row.start, row.end)
        if place in seen:
            raise wrong_line(path, line, f"'{row.path}' is already listed in line {seen[place]}")
        seen[place] = line
        rows.append(row)
    if not rows:
        raise CorpusError(
            f"{shown_path(path)}: the table has no rows; list one clip per line below the header"
        )
    return rows, _notes(table, columns, rows)


def _notes(table: Delimited, columns: Columns, rows: list[Row]) -> list[str]:
    """What was guessed, in one line; and how many segments there are."""
    facts = [f"columns {columns.told} (--columns names others)"] if columns.told else []
    if table.delimiter != _USUAL.get(table.path.suffix.lower()):
        facts.append(f"fields divided by {DELIMITERS.get(table.delimiter, repr(table.delimiter))}")
    if table.encoding != "UTF-8":
        facts.append(f"{table.encoding} text")
    notes = [f"{table.path.name} is read with {'; '.join(facts)}"] if facts else []
    files = {row.path for row in rows if row.start is not None}
    n_segments = sum(row.start is not None for row in rows)
    return [*notes, *([f"clips are segments: {n_segments:,} of {len(files):,} files"] if files else [])]


def _row(table: Delimited, line: int, columns: Columns, fields: list[str]) -> Row:
    if len(fields) != len(columns.names):
        raise wrong_line(
            table.path, line, f"the header has {len(columns.names)} fields, this line {len(fields)}"
        )
    values = {role: fields[at] for role, at in columns.at.items()}
    for needed in (PATH, LABEL):
        if needed in values and not values[needed]:
            raise wrong_line(table.path, line, f"the {needed} is empty")
    own = set(columns.at.values())
    pairs = zip(columns.names, fields, strict=True)
    others = {name: text for at, (name, text) in enumerate(pairs) if at not in own and text}
    others.pop("", None)
    if LABEL not in columns.at:
        others.pop(LABEL, None)
    if values.get(SPLIT):
        others[SPLIT] = values[SPLIT]
    try:
        start, end = _segment(table, columns, values)
    except ValueError as error:
        raise wrong_line(table.path, line, str(error)) from error
    audio = _audio_path(table.path.parent, values[PATH])
    return Row(line, audio, values.get(LABEL, ""), values.get(SPEAKER) or None, others, start, end)


def _audio_path(folder: Path, text: str) -> Path:
    """The path of an audio file; backslashes divide folders, unless a file is called so."""
    path = Path(os.path.normpath(folder / text))
    if "\\" in text and not path.exists():
        return Path(os.path.normpath(folder / text.replace("\\", "/")))
    return path


def _segment(
    table: Delimited, columns: Columns, values: Mapping[str, str]
) -> tuple[float | None, float | None]:
    """Start and end of a row in seconds; (None, None) for a whole file, no end for the end of the file."""
    times = {
        role: _seconds(role, values[role], columns.milliseconds(role), table.delimiter)
        for role in (START, END, DURATION)
        if values.get(role) and values[role].casefold() not in {"nat", "<na>"}
    }
    if not times:
        return None, None
    start, end = times.get(START, 0.0), times.get(END)
    if DURATION in times:
        end = round(start + times[DURATION], _DIGITS)
    if end is not None and end <= start:
        raise ValueError(f"the segment starts at {start:g} s and ends at {end:g} s, which is not after it")
    return start, end


def _seconds(role: str, text: str, milliseconds: bool, delimiter: str) -> float:
    """Seconds of `1.5`, `00:01.5`, `0:00:01.5` or `0 days 00:00:01.5`; raises ValueError."""
    clock = _CLOCK.fullmatch(text)
    is_number = _NUMBER.fullmatch(text) and (delimiter != "," or "," not in text)
    if clock is None and not is_number:
        raise ValueError(f"the {role} is '{shown(text)}'; seconds such as 1.5 or 0:01.5 are needed")
    if clock:
        days, hours, minutes = (int(part or 0) for part in clock.groups()[1:4])
        amount = 86_400.0 * days + 3600 * hours + 60 * minutes + float(clock[5].replace(",", "."))
        amount = -amount if clock[1] == "-" else amount
    else:
        amount = float(text.replace(",", ".")) / (1000 if milliseconds else 1)
    if amount < 0 or amount == float("inf"):
        raise ValueError(f"the {role} is {shown(text)}; a time within the file is needed")
    return round(amount, _DIGITS)
