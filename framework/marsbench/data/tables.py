"""Data frames, and data sets of the package `datasets`, written as tables of clips that a run can name.

A table lies below `home()` under the digest of its content: the same data are the same file, on every call.
Neither pandas nor `datasets` is imported here; their objects are known by what they have.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from marsbench.atomic_files import home, write_atomically, write_text
from marsbench.errors import CorpusError, suggestion
from marsbench.hashing import digest

PATHS = ("path", "file", "filename", "filepath", "audio")
"""What the column of paths may be called, in any case."""
_UNSAFE = r"[^\w-]+"
"""What no name of a file that is written here has."""
_KINDS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}
"""File name endings by a file's first bytes; all others are taken for MP3."""


def place_of(data: Any) -> Any:
    """The path of a table with the clips of a data frame or data set; anything else as it is.

    Raises:
        CorpusError: it has no column of paths or of audio, or no rows.
    """
    if _is_dataset(data) or (isinstance(data, Mapping) and all(map(_is_dataset, data.values()))):
        return table_of_dataset(data)
    if hasattr(data, "columns") and hasattr(data, "to_pandas"):  # such as those of polars
        data = data.to_pandas()
    return table_of_frame(data) if hasattr(data, "itertuples") else data


def table_of_frame(frame: Any) -> Path:
    """Write a pandas data frame as a table of clips.

    Args:
        frame: one row for each clip. `path` is needed, relative to the working directory; then label,
            speaker, start and end (seconds), and further columns, which become attributes. An index with
            names counts as columns.

    Raises:
        CorpusError: no column of paths, an empty path, or no rows.
    """
    if all(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    found = [at for at, name in enumerate(names) if name.casefold() in PATHS]
    if not found:
        raise CorpusError(f"the data frame has no column 'path'. {suggestion('path', names)}")
    at = min(found, key=lambda place: PATHS.index(names[place].casefold()))
    rows = [list(map(_text, row)) for row in frame.itertuples(index=False, name=None)]
    for number, row in enumerate(rows):
        if not row[at]:
            raise CorpusError(f"the data frame has no path in row {number} (from 0)")
        row[at] = os.path.abspath(Path(row[at]).expanduser())  # noqa: PTH100 - resolve follows links
    text = _csv(["path" if place == at else name for place, name in enumerate(names)], rows)
    path = home() / "tables" / f"frame-{digest(text)[:12]}.csv"
    if not path.exists():
        write_text(path, text)
    return path


def _text(value: Any) -> str:
    """A cell as text; whole numbers without decimals, as a column with gaps has them; empty where missing."""
    if value is None or value != value:  # noqa: PLR0124 - so is what is not a number, or no time
        return ""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if str(value) in {"<NA>", "NaT"} else str(value)


def _csv(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        raise CorpusError("the data have no rows; one row for each clip is needed")
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows([names, *rows])
    return lines.getvalue()


# Data sets


class _Row(NamedTuple):
    """One row of a data set: a file, or the bytes of one with its name, and the other columns."""

    path: str
    content: bytes | None
    others: tuple[str, ...]


def table_of_dataset(data: Any) -> Path:
    """Write a `datasets.Dataset` with a column of audio as a table of clips, its audio beside it.

    Args:
        data: the data set, or several by name of the split, which then is a column.

    Raises:
        CorpusError: not one column of audio, or no rows.
    """
    parts = data if isinstance(data, Mapping) else {"": data}
    first = next(iter(parts.values()))
    names = [name for name in first.features if name != _audio_column(first)]
    names += ["split"] if isinstance(data, Mapping) and "split" not in names else []
    sums = [
        [row.path, row.content and sha256(row.content).hexdigest(), row.others] for row in _rows(parts, names)
    ]
    folder = home() / "tables" / f"dataset-{digest([names, sums])[:12]}"
    table = folder / f"{folder.name}.csv"
    if not table.exists():
        rows = [
            [_written(folder, number, row), *row.others] for number, row in enumerate(_rows(parts, names))
        ]
        write_text(table, _csv(["path", *names], rows))
    return table


def _is_dataset(data: Any) -> bool:
    return hasattr(data, "cast_column") and hasattr(data, "features")


def _audio_column(data: Any) -> str:
    found = [name for name, kind in (data.features or {}).items() if type(kind).__name__ == "Audio"]
    if len(found) != 1:
        named = ", ".join(data.features or {}) or "none known"
        raise CorpusError(f"the data set has {len(found)} columns of audio, one is needed; columns: {named}")
    return str(found[0])


def _rows(parts: Mapping[str, Any], names: Sequence[str]) -> Iterator[_Row]:
    """All rows; audio is not decoded, and classes have their names."""
    for split, data in parts.items():
        audio = _audio_column(data)
        kinds = data.features
        for row in data.cast_column(audio, type(kinds[audio])(decode=False)):
            values = {"split": split} | {name: _named(kinds.get(name), row.get(name)) for name in row}
            file = row[audio]
            yield _Row(file["path"] or "", file["bytes"], tuple(values.get(name, "") for name in names))


def _named(kind: Any, value: Any) -> str:
    """A value as text, a class by its name; empty for lists and the like."""
    if hasattr(kind, "int2str") and isinstance(value, int):
        return str(kind.int2str(value)) if value >= 0 else ""
    return "" if isinstance(value, (list, tuple, dict, bytes)) else _text(value)


def _written(folder: Path, number: int, row: _Row) -> str:
    """The path of a row's file: its own, or of its bytes, written below `folder`, relative to that."""
    if row.content is None:
        return os.path.abspath(row.path)  # noqa: PTH100 - resolve follows links
    name = PurePath(row.path.replace("\\", "/"))
    ending = name.suffix.lower() or _KINDS.get(row.content[:4], ".mp3")
    path = Path("audio") / f"{number:06}_{re.sub(_UNSAFE, '-', name.stem)[:80] or 'clip'}{ending}"
    content = row.content
    write_atomically(folder / path, lambda file: file.write(content))
    return path.as_posix()
