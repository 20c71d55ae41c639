"""Files below a folder, which is walked once however many plugins look at it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from marsbench.errors import CorpusError

_MAX_DEPTH = 32
"""Levels of folders that are searched."""
_walked: ContextVar[dict[tuple[Path, int | None], list[Path]] | None] = ContextVar("walked", default=None)
"""What was found, inside `walked_once`."""


@contextmanager
def walked_once() -> Iterator[None]:
    """Inside, `files_below` walks a folder once, whoever asks; what changes there meanwhile is not seen."""
    before = _walked.set({})
    try:
        yield
    finally:
        _walked.reset(before)


def files_below(root: Path, suffixes: frozenset[str], most: int | None = None) -> list[Path]:
    """Files below `root` with these endings (lower case, with the dot), sorted, each folder once.

    A folder's files come before those of its sub-folders; symbolic links are followed, names that begin with
    a dot, as macOS adds some to archives, are left out. Nothing if `root` is not a folder. `most` limits how
    many files of any ending are looked at.

    Raises:
        CorpusError: folders nested too deep.
    """
    walked = _walked.get()
    files = None if walked is None else walked.get((root, most))
    if files is None:
        files = list(_files_below(root, most))
        if walked is not None:
            walked[root, most] = files
    return [path for path in files if f".{path.name.rpartition('.')[2].lower()}" in suffixes]


def _files_below(root: Path, most: int | None) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    depth = str(root).count(os.sep) + _MAX_DEPTH
    for folder, below, names in os.walk(root, followlinks=True):
        if folder.count(os.sep) > depth:
            raise CorpusError(
                f"{root}: its folders are nested more than {_MAX_DEPTH} deep; move the audio further up"
            )
        stat = os.stat(folder)  # noqa: PTH116 - a Path for each folder takes longer than the rest
        if (stat.st_dev, stat.st_ino) in seen or (most is not None and most <= 0):
            below.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        below.sort()
        yield from (Path(folder, name) for name in sorted(names)[:most] if not name.startswith("."))
        most = most and most - len(names)
