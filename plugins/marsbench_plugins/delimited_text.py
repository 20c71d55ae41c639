"""Read delimited text as programs write it: its encoding and delimiter are found out."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from marsbench.errors import CorpusError, shown_path

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""Delimiters that are recognised, and what messages call them."""
HEADER_BYTES = 65_536
"""Part of a file that is read to see whether it is a table of clips."""
_UTF_8 = "UTF-8"
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_NAMES = {"utf-8-sig": _UTF_8, "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}
_SEP = re.compile(r'"?sep=(.)"?[ ,;\t|]*(\r\n|\r|\n|$)', re.IGNORECASE)
"""The first line of a file that Excel made, or is told by how to read it."""


def wrong_line(path: Path, line: int, what: str) -> CorpusError:
    """The error of a defect in a line of a table."""
    return CorpusError(f"{shown_path(path)}, line {line}: {what}")


@dataclass(frozen=True)
class Delimited:
    """A table's text, and how it is divided into records."""

    path: Path
    text: str
    encoding: str
    """As messages call it."""
    delimiter: str = ","
    first_line: int = 1
    """Number of the line that `text` begins with."""

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Number of the last line and stripped fields of each record that is not empty.

        Raises:
            CorpusError: quotes that are not closed or stand inside a field.
        """
        reader = csv.reader(io.StringIO(self.text, newline=""), delimiter=self.delimiter, strict=True)
        before = self.first_line - 1
        try:
            for fields in reader:
                if any(stripped := [field.strip() for field in fields]):
                    yield before + reader.line_num, stripped
        except csv.Error as error:
            raise wrong_line(self.path, before + reader.line_num, str(error)) from error


def read_delimited(path: Path, value_of: Callable[[Sequence[str]], int]) -> Delimited:
    """The text of a table.

    The delimiter is that of a first line `sep=;` if there is one, else the one with the best header.

    Args:
        path: the file.
        value_of: how good a header is; of equal ones the one with most columns is taken.

    Raises:
        CorpusError: it cannot be read or is no text; names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{shown_path(path)} cannot be read: {error.strerror or error}") from error
    return _divided(path, data, value_of)


def read_header(path: Path, value_of: Callable[[Sequence[str]], int]) -> Delimited:
    """As `read_delimited`, of the beginning alone; raises OSError or CorpusError."""
    with path.open("rb") as file:
        data = file.read(HEADER_BYTES)
    if len(data) == HEADER_BYTES:  # without a line, or a character, that is cut off
        data = data[: data.rfind(b"\n") + 1]
    return _divided(path, data, value_of)


def _divided(path: Path, data: bytes, value_of: Callable[[Sequence[str]], int]) -> Delimited:
    text, encoding = _decoded(data)
    if "\0" in text:  # such as an Excel workbook
        line = text.count("\n", 0, text.index("\0")) + 1
        raise wrong_line(path, line, "not text; save the table as CSV in UTF-8")
    table = Delimited(path, text, encoding)
    if hint := _SEP.match(text):
        return replace(table, text=text[hint.end() :], delimiter=hint[1], first_line=2)

    def worth(delimiter: str) -> tuple[int, int]:
        columns = _header(text, delimiter)
        return value_of(columns), len(columns)

    return replace(table, delimiter=max(DELIMITERS, key=worth))


def _header(text: str, delimiter: str) -> list[str]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return [field.strip() for field in next((row for row in rows if row), [])]
    except csv.Error:
        return []


def _decoded(data: bytes) -> tuple[str, str]:
    """The text and the name of its encoding: by its mark, else UTF-16 by zero bytes, UTF-8, or one byte each.

    In the last case it is Windows-1252, or Latin-1 where Windows-1252 has no such character.
    """
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    odd, even = data[1:HEADER_BYTES:2].count(0), data[0:HEADER_BYTES:2].count(0)
    if marked is None and max(odd, even) > len(data[:HEADER_BYTES]) / 4:
        marked = "utf-16-le" if odd > even else "utf-16-be"
    if marked:
        return data.decode(marked, errors="replace"), _NAMES[marked]
    for encoding, name in (("utf-8", _UTF_8), ("cp1252", "Windows-1252")):
        try:
            return data.decode(encoding), name
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "Latin-1"
