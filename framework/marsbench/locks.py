"""Locks of folders, so that one process at a time works in each."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from marsbench.errors import StorageError
from marsbench.progress import Progress

_NAME = ".lock"
_POLL = 0.2
"""Seconds."""


def try_lock(folder: Path) -> FileLock | None:
    """Lock a folder; None if another process holds its lock. A lock ends with its process.

    Raises:
        StorageError: the lock cannot be written there.
    """
    lock = FileLock(folder / _NAME, thread_local=False)  # it may be released in another thread
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
        return False  # a process that cannot write here cannot know, and does no harm


def pause() -> None:
    """Wait a moment between two checks of a lock."""
    time.sleep(_POLL)


def wait_until_free(
    folder: Path, why_wait: str, progress: Progress, between: Callable[[], None] = pause
) -> None:
    """Print `why_wait`, then call `between` repeatedly while a process holds the folder's lock."""
    progress.say(f"{why_wait}; waiting for it")
    while is_locked(folder):
        between()


@contextmanager
def locked(
    folder: Path, why_wait: str, progress: Progress, between: Callable[[], None] = pause
) -> Iterator[None]:
    """Hold the folder's lock, once no other process has it; arguments are those of `wait_until_free`."""
    while (lock := try_lock(folder)) is None:
        wait_until_free(folder, why_wait, progress, between)
    try:
        yield
    finally:
        lock.release()
