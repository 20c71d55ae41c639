"""Folders that one process at a time works in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from marsbench.errors import StorageError
from marsbench.progress import Progress

_NAME = ".lock"


def try_lock(folder: Path) -> FileLock | None:
    """The folder's lock, now held, or None if another process holds it; the system frees a dead one's.

    Raises:
        StorageError: the lock cannot be written there.
    """
    lock = FileLock(folder / _NAME)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except OSError as error:
        raise StorageError(f"{folder} cannot be written to: {error.strerror or error}") from error
    return lock


def is_locked(folder: Path) -> bool:
    """Whether some process holds the folder's lock."""
    if not (folder / _NAME).exists():
        return False
    try:
        with FileLock(folder / _NAME, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # whoever cannot write here cannot tell; nor can it disturb


@contextmanager
def locked(folder: Path, why_wait: str, progress: Progress) -> Iterator[None]:
    """Hold the folder's lock, waiting for whoever has it; says `why_wait` if that is needed."""
    lock = try_lock(folder)
    if lock is None:
        progress.say(f"{why_wait}; waiting for it")
        lock = FileLock(folder / _NAME)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
