"""Write files atomically, some with a checksum that is checked on reading; lock folders."""

import ctypes
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, TypeVar

import platformdirs
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from marsbench.errors import DamagedError, ResultsError, StorageError, raise_machine_fault, reason_of
from marsbench.progress import Progress, Silent

if sys.platform != "win32":
    import fcntl

Record = TypeVar("Record", bound=BaseModel)
_LOCK = ".lock"
_POLL = 0.2
"""Seconds between two checks of a lock."""
_MAX_BYTES = 1 << 30
"""Largest record that is read: an index of ten million clips."""


def home() -> Path:
    """Folder of everything that can be recomputed or downloaded again: features, generated corpora, encoders.

    `MARSBENCH_HOME` if set, else the platform's cache folder of the user.
    """
    return Path(os.environ.get("MARSBENCH_HOME") or platformdirs.user_cache_dir("marsbench"))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file in the same folder, flush it to disk, then rename it to `path`.

    Readers see the old file or the complete new one, also after a crash.

    Raises:
        StorageError: the disk is full, or the folder cannot be created or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o666 & ~_umask())  # NamedTemporaryFile's 0600 hides results from others
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {reason_of(error)}") from error


def require_writable(folder: Path) -> None:
    """Raise StorageError unless files can be written into `folder`, which is created if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"{folder} cannot be written to: {reason_of(error)}") from error


@cache
def _umask() -> int:
    """File mode bits that the user masks; the only way to read them is to set them."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_checksummed(path: Path, text: str) -> None:
    """Write a non-empty JSON object atomically, with a checksum of the rest as its first key."""
    rest = text.removeprefix("{").lstrip("\n").encode()
    write_atomically(path, lambda file: file.write(_checksum_line(rest) + b"\n" + rest))


def read_checksummed(path: Path) -> bytes:
    """The JSON object that was written by `write_checksummed`.

    Raises:
        DamagedError: any byte differs from what was written, or is missing; or it is no file of that kind.
        OSError: the file cannot be read.
    """
    about = path.stat()
    is_bounded = S_ISREG(about.st_mode) and about.st_size <= _MAX_BYTES  # a pipe never ends
    if not is_bounded and not S_ISDIR(about.st_mode):
        raise DamagedError(f"{path} is not a regular file of at most {_MAX_BYTES:,} bytes")
    return unsealed(path.read_bytes(), str(path))


def unsealed(content: bytes, name: str) -> bytes:
    """The JSON object in what `write_checksummed` wrote; raises DamagedError, which names the file."""
    line, _, rest = content.partition(b"\n")
    if line != _checksum_line(rest):
        raise DamagedError(f"{name} is damaged: its checksum does not match")
    return b"{" + rest


def _checksum_line(rest: bytes) -> bytes:
    return b'{"sha256": "%s",' % hashlib.sha256(rest).hexdigest().encode()


def write_record(path: Path, record: BaseModel) -> None:
    """Write what `read_record` reads, one field a line."""
    write_checksummed(path, record.model_dump_json(indent=1))


def read_record(path: Path, kind: type[Record]) -> Record:
    """The record in a file.

    Raises:
        ResultsError: it is missing, damaged or not of this version.
        StorageError: this machine cannot read it at the moment.
    """
    try:
        return kind.model_validate_json(read_checksummed(path))
    except OSError as error:
        raise_machine_fault(error)
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ResultsError(f"{path} is not of this version: {where}: {first['msg']}") from error


def intact(path: Path, say: Callable[[str], None], read: Callable[[Path], Record]) -> Record | None:
    """The record in a file, or None; an unusable file is renamed to `.damaged`, and `say` gets a line."""
    if not path.exists():
        return None
    try:
        return read(path)
    except ResultsError as error:
        aside = path.replace(path.with_suffix(".damaged"))
        say(f"{error}; set aside as {aside.name} and computed again")
        return None


def write_sealed(path: Path, data: bytes) -> None:
    """Write bytes atomically, with their sha256 before them."""
    write_atomically(path, lambda file: file.write(hashlib.sha256(data).digest() + data))


def read_sealed(path: Path) -> bytes | None:
    """The bytes that `write_sealed` was given; None if they are missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    return content[size:] if hashlib.sha256(content[size:]).digest() == content[:size] else None


def try_lock(folder: Path) -> FileLock | None:
    """Lock a folder; None if another process holds its lock. A lock ends with its process.

    Raises:
        StorageError: the lock cannot be written there.
    """
    lock = FileLock(folder / _LOCK, thread_local=False)  # it may be released in another thread
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except OSError as error:
        raise StorageError(f"{folder} cannot be written to: {reason_of(error)}") from error
    return lock


def is_locked(folder: Path) -> bool:
    """Whether some process holds the folder's lock."""
    return _is_held(folder / _LOCK)


def _is_held(path: Path) -> bool:
    """Whether some process holds a lock file; those that ask at the same time do not see one another."""
    try:
        with path.open("rb") as file:
            if sys.platform == "win32":
                with FileLock(path, timeout=0):
                    return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, Timeout):
        return True
    except OSError as error:
        raise_machine_fault(error)
    return False  # there is none, or one that may not be read: whoever cannot know does no harm


@cache
def _started(_pid: int) -> str:
    return datetime.now().astimezone().isoformat(" ", "seconds")


def this_process() -> str:
    """A text that names this process and no other, of any machine."""
    pid = os.getpid()
    return f"process {pid} on {platform.node()}, since {_started(pid)}"


@contextmanager
def at_work(what: str, *folders: Path) -> Iterator[None]:
    """Show in folders that this process does something there, as long as the context lasts and it lives.

    Each process holds a lock file of its own there, with a line on itself in it: on what it does as a whole,
    not on what that is made of. A folder that cannot be written to is left out.
    """
    with ExitStack() as stack:
        for folder in folders:
            if any(this_process() in line for line in who_is_at_work(folder)):
                continue
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                stack.callback(_let_go, _free_lock(folder, f"{what}: {this_process()}"))
        yield


def _free_lock(folder: Path, line: str) -> FileLock:
    """The first lock file of a folder that no process holds, now held by this one, with a line in it."""
    for number in count():
        path = folder / f"{_LOCK}-{number}"
        lock = FileLock(path, thread_local=False)
        with suppress(Timeout):
            lock.acquire(timeout=0)
            path.write_text(line, "utf-8")
            if _is_held(path):  # else another process has just removed it
                return lock
    raise AssertionError


def _let_go(lock: FileLock) -> None:
    with suppress(OSError):  # some systems remove no open file
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def who_is_at_work(folder: Path) -> list[str]:
    """The line of each living process that is `at_work` in a folder."""
    held = [path for path in sorted(folder.glob(f"{_LOCK}-*")) if _is_held(path)]
    return [path.read_text("utf-8", errors="replace") or "a process that has just begun" for path in held]


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


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give the path of a new folder to make, which takes the place of `folder` when the context ends.

    Whenever a process is killed, the old folder or the new one is there: they change places in one step.
    Where the system cannot do that, the old one may lie aside for a moment; `restore_folder` puts it back.
    After an exception the old one is there.

    Raises:
        OSError, StorageError: something cannot be written there.
    """
    aside = _aside(folder)
    with locked(aside, f"another process writes {folder}", Silent()):
        _put_back(folder, aside)
        new, old = aside / "new", aside / "old"
        for leftover in (new, old):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            yield new
            if not (folder.exists() and _exchange(new, folder)):
                if folder.exists():
                    folder.rename(old)
                new.rename(folder)
        finally:
            _put_back(folder, aside)
            shutil.rmtree(aside, ignore_errors=True)


def restore_folder(folder: Path) -> None:
    """Put back a folder that a killed process left aside while it replaced it; raises StorageError."""
    aside = _aside(folder)
    if folder.exists() or not (aside / "old").exists() or (lock := try_lock(aside)) is None:
        return
    try:
        _put_back(folder, aside)
    finally:
        lock.release()


def _aside(folder: Path) -> Path:
    path = folder.absolute()
    return path.with_name(f".{path.name}.replaced")


def _put_back(folder: Path, aside: Path) -> None:
    if not folder.exists() and (aside / "old").exists():
        (aside / "old").rename(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
