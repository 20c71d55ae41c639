import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from marsbench.atomic_files import at_work, is_locked, locked, this_process, try_lock, who_is_at_work
from marsbench.errors import StorageError
from marsbench.progress import Silent

HOLDER = """
import sys, time
from pathlib import Path
from marsbench.atomic_files import try_lock
lock = try_lock(Path(sys.argv[1]))
print("held" if lock else "refused", flush=True)
time.sleep(60)
"""


@contextmanager
def another_process(folder: Path, program: str = HOLDER) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the folder's lock, or does what a program says, until it is killed."""
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


class Heard(Silent):
    """Keeps the lines that were said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_lock_makes_the_folder_and_is_free_once_released(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert not is_locked(folder)
    lock = try_lock(folder)
    assert lock is not None
    assert is_locked(folder)
    lock.release()
    assert not is_locked(folder)


def test_only_one_holds_a_lock_also_within_a_process(tmp_path: Path) -> None:
    lock = try_lock(tmp_path)
    assert lock is not None
    assert try_lock(tmp_path) is None
    lock.release()


def test_asking_whether_a_folder_is_locked_neither_makes_nor_locks_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    lock = try_lock(tmp_path)
    assert lock is not None
    lock.release()
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_lock_of_another_process_is_seen_and_respected(tmp_path: Path) -> None:
    with another_process(tmp_path):
        assert is_locked(tmp_path)
        assert try_lock(tmp_path) is None


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        process.kill()
        process.wait()
        assert not is_locked(tmp_path)
        lock = try_lock(tmp_path)
        assert lock is not None
        lock.release()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/folder cannot be written to: Not a directory$"):
        try_lock(tmp_path / "file" / "folder")


def test_waiting_says_why_and_ends_when_the_lock_is_free(tmp_path: Path) -> None:
    heard = Heard()
    with another_process(tmp_path) as process:
        threading.Timer(0.3, process.kill).start()
        start = time.monotonic()
        with locked(tmp_path, "another process extracts", heard):
            assert time.monotonic() - start > 0.2
            assert is_locked(tmp_path)
    assert heard.lines == ["another process extracts; waiting for it"]
    assert not is_locked(tmp_path)


def test_a_free_lock_is_taken_without_a_word_and_let_go_after_an_exception(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(ValueError, match="no luck"), locked(tmp_path, "taken", heard):
        raise ValueError("no luck")
    assert heard.lines == []
    assert not is_locked(tmp_path)


WORKER = """
import sys, time
from pathlib import Path
from marsbench.atomic_files import at_work
with at_work("a run", Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_who_is_at_work_is_named_as_long_as_it_is(tmp_path: Path) -> None:
    folders = tmp_path / "results", tmp_path / "home"
    with at_work("a search", *folders), at_work("an ensemble", folders[0]):
        assert [who_is_at_work(folder) for folder in folders] == 2 * [[f"a search: {this_process()}"]]
    with at_work("a search", folders[1]), at_work("an ensemble", *folders):
        assert who_is_at_work(folders[0]) == [f"an ensemble: {this_process()}"]
        assert who_is_at_work(folders[1]) == [f"a search: {this_process()}"]
    assert who_is_at_work(folders[0]) == who_is_at_work(folders[1]) == []


def test_processes_at_work_side_by_side_are_all_named_and_a_killed_one_is_not(tmp_path: Path) -> None:
    with another_process(tmp_path, WORKER) as first, another_process(tmp_path, WORKER) as second:
        assert [
            f"process {one.pid} on" in line
            for one, line in zip((first, second), who_is_at_work(tmp_path), strict=True)
        ] == [True, True]
        first.kill()
        first.wait()
        with at_work("an export", tmp_path):
            assert len(who_is_at_work(tmp_path)) == 2
        (line,) = who_is_at_work(tmp_path)
        assert f"a run: process {second.pid} on" in line


def test_many_that_ask_at_the_same_time_disturb_neither_each_other_nor_the_worker(tmp_path: Path) -> None:
    with at_work("a run", tmp_path):
        pass
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: who_is_at_work(tmp_path), range(400)))
    with at_work("a run", tmp_path), ThreadPoolExecutor(8) as pool:
        assert {len(found) for found in pool.map(lambda _: who_is_at_work(tmp_path), range(400))} == {1}


@pytest.mark.parametrize("folder", ["file", "file/folder"])
def test_a_folder_that_cannot_be_written_to_is_left_out(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with at_work("an export", tmp_path / folder, tmp_path):
        assert who_is_at_work(tmp_path / folder) == []
        assert len(who_is_at_work(tmp_path)) == 1
