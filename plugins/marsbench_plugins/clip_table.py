"""Read CSV or TSV tables of clips: path, label, and further columns."""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from marsbench.errors import CorpusError, suggestion

DELIMITERS: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}
"""Delimiters by file name ending."""
_NEEDED = ("path", "label")
_HEADER_BYTES = 65_536
_SEGMENT = re.compile(
    r"((seg|segment|clip|utterance)[ _]?)?(start|end|begin|stop|onset|offset)"
    r"([ _]?(time|s|sec|secs|seconds|ms|msec|samples?|frames?|at))?",
    re.IGNORECASE,
)
"""Columns that name a part of a file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One clip of a table, in line `line`."""

    line: int
    path: Path
    label: str
    others: Mapping[str, str]
    """Non-empty values of further columns, by name."""


def is_table(path: Path) -> bool:
    """Whether `path` is a CSV or TSV file whose header has the columns path and label."""
    if path.suffix.lower() not in DELIMITERS or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            first = file.readline(_HEADER_BYTES).decode("utf-8-sig")
        columns = next(csv.reader([first], delimiter=DELIMITERS[path.suffix.lower()]), [])
    except (OSError, ValueError, csv.Error):
        return False
    return set(_NEEDED) <= {column.strip() for column in columns}


def read_table(path: Path) -> list[Row]:
    """All rows of a UTF-8 table; relative paths are resolved against the table's folder.

    Raises:
        CorpusError: not UTF-8, a column missing or one for parts of files (start, end), no rows, a row with
            too few or too many fields, an empty path or label, or a path listed twice; names the file and
            the line.
    """
    lines = _records(path, _text(path))
    columns = _columns(path, lines)
    rows: list[Row] = []
    seen: dict[Path, int] = {}
    for line, fields in lines:
        row = _row(path, line, columns, fields)
        if row.path in seen:
            raise _wrong(path, line, f"'{row.path}' is already listed in line {seen[row.path]}")
        seen[row.path] = line
        rows.append(row)
    if not rows:
        raise CorpusError(f"{path}: the table has no rows; list one clip per line below the header")
    return rows


def _wrong(path: Path, line: int, what: str) -> CorpusError:
    return CorpusError(f"{path}, line {line}: {what}")


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}") from error
    # UTF-16 without a byte order mark decodes as UTF-8 with zero bytes, which paths cannot contain.
    bad = data.find(b"\0")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = error.start
    if bad >= 0:
        line = data.count(b"\n", 0, bad) + 1
        raise _wrong(path, line, "not UTF-8 text; save the table as UTF-8")
    return text


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line and stripped fields of each non-empty record."""
    delimiter = DELIMITERS[path.suffix.lower()]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, [field.strip() for field in fields]
    except csv.Error as error:
        raise _wrong(path, reader.line_num, str(error)) from error


def _columns(path: Path, lines: Iterator[tuple[int, list[str]]]) -> list[str]:
    """Column names of the header."""
    line, columns = next(lines, (1, []))
    for needed in _NEEDED:
        if needed not in columns:
            found = suggestion(needed, filter(None, columns))
            raise _wrong(path, line, f"the header has no column '{needed}'. {found}")
    if repeated := [column for column in columns if columns.count(column) > 1]:
        raise _wrong(path, line, f"the header has column '{repeated[0]}' twice")
    if parts := [column for column in columns if _SEGMENT.fullmatch(column)]:
        raise _wrong(
            path,
            line,
            f"column '{parts[0]}' names a part of a file, but a clip is a whole file; cut the files into "
            "clips, or rename the column if it is only a note",
        )
    return columns


def _row(path: Path, line: int, columns: list[str], fields: list[str]) -> Row:
    if len(fields) != len(columns):
        raise _wrong(path, line, f"the header has {len(columns)} fields, this line {len(fields)}")
    values = dict(zip(columns, fields, strict=True))
    for needed in _NEEDED:
        if not values[needed]:
            raise _wrong(path, line, f"the {needed} is empty")
    audio = Path(os.path.normpath(path.parent / values.pop("path")))
    label = values.pop("label")
    return Row(line, audio, label, {name: value for name, value in values.items() if name and value})
