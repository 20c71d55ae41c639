import ctypes
import errno
import math
import os
import pickle
import pydoc
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from marsbench.errors import ConfigError, StorageError, TrainingError
from marsbench.execution import worker
from marsbench.execution.base import Work
from marsbench.execution.limits import THREAD_VARIABLES, Limits
from marsbench.execution.worker import Isolation, WorkerDied, WorkerProcess

NO_LIMITS = Limits()


@pytest.fixture(scope="module")
def kept() -> Iterator[list[WorkerProcess]]:
    """Those that were started: a process serves test after test, as it does task after task."""
    kept: list[WorkerProcess] = []
    yield kept
    for process in kept:
        process.close()


@pytest.fixture
def process(kept: list[WorkerProcess], works: Any) -> WorkerProcess:  # noqa: ARG001 - for its environment
    """A process that lives and has printed nothing."""
    if not kept or not kept[-1].alive:
        kept.append(WorkerProcess(threads=3))
    kept[-1].log.take()
    return kept[-1]


def result(process: WorkerProcess, work: Work, limits: Limits = NO_LIMITS, kept: str = "") -> Any:
    return process.run(pickle.dumps(work), Isolation("", 1, limits, kept), lambda _epoch, _most: None)


def pid_of(process: WorkerProcess) -> int:
    """Of the process itself; tasks are done in copies of it."""
    return process._process.pid


def test_values_come_back_from_another_process(process: WorkerProcess, works: Any) -> None:
    assert result(process, works.call(math.hypot, 3, 4)) == 5.0
    assert result(process, works.call(os.getpid)) not in (os.getpid(), None)


def test_a_large_value_comes_back_whole(process: WorkerProcess, works: Any) -> None:
    assert result(process, works.call(bytes, 30_000_000)) == bytes(30_000_000)


def test_the_process_computes_with_the_given_number_of_threads(process: WorkerProcess, works: Any) -> None:
    found = [result(process, works.call(os.getenv, name)) for name in THREAD_VARIABLES]
    assert found == ["3"] * len(THREAD_VARIABLES)


def test_a_mapped_file_that_is_cut_off_is_no_failure_of_the_work(works: Any, tmp_path: Path) -> None:
    with closing(WorkerProcess(1)) as process, pytest.raises(StorageError, match="mapped file are cut off"):
        result(process, works.call(works.read_cut_off, tmp_path / "features"))


def test_nothing_is_imported_from_the_working_directory(
    works: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("queue", "pickle", "psutil", "marsbench"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    with closing(WorkerProcess(1)) as process:
        assert result(process, works.call(os.getenv, "PYTHONSAFEPATH")) == "1"  # of what plugins start, too


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no luck"), "ValueError: no luck"),
        (TrainingError("a loss of NaN"), "a loss of NaN"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (GeneratorExit(), "GeneratorExit: "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_is_a_failure_and_the_process_goes_on(
    process: WorkerProcess, works: Any, error: BaseException, message: str
) -> None:
    failure = result(process, works.call(works.fail, error))
    assert (failure.kind, failure.message) == (type(error).__name__, message)
    assert failure.traceback.startswith("Traceback")
    assert "works.py" in failure.traceback
    assert result(process, works.call(abs, -1)) == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StorageError("features gone")]
)
def test_a_fault_of_the_machine_is_no_failure_of_the_work_and_the_process_goes_on(
    process: WorkerProcess, works: Any, error: Exception
) -> None:
    with pytest.raises(StorageError):
        result(process, works.call(works.fail, error))
    assert result(process, works.call(abs, -1)) == 1


def test_a_refused_setting_is_raised_here_and_the_process_goes_on(process: WorkerProcess, works: Any) -> None:
    with pytest.raises(ConfigError, match="no such kernel"):
        result(process, works.call(works.fail, ConfigError("no such kernel")))
    assert result(process, works.call(abs, -1)) == 1


def test_work_that_cannot_be_unpickled_there_is_a_failure(process: WorkerProcess) -> None:
    failure = process.run(
        b"cno_such_module\nwork\n.", Isolation("", 1, NO_LIMITS), lambda _epoch, _most: None
    )
    assert (failure.kind, failure.message) == (
        "ModuleNotFoundError",
        "ModuleNotFoundError: No module named 'no_such_module'",
    )


def test_a_value_that_cannot_be_pickled_is_a_failure(process: WorkerProcess, works: Any) -> None:
    failure = result(process, works.call(threading.Lock))
    assert failure.message == "TypeError: cannot pickle '_thread.lock' object"
    assert result(process, works.call(abs, -1)) == 1


def test_epochs_arrive_in_order_before_the_value(process: WorkerProcess, works: Any) -> None:
    heard: list[tuple[int, int]] = []
    work = pickle.dumps(works.partial(works.count_epochs, 3))
    assert process.run(work, Isolation("", 1, NO_LIMITS), lambda *epoch: heard.append(epoch)) == "done"
    assert heard == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("write", [(print, "hello"), (os.write, 1, b"hello\n"), (os.write, 2, b"hello\n")])
def test_what_is_printed_is_in_the_log_of_its_task_alone(
    process: WorkerProcess, works: Any, write: tuple[Any, ...]
) -> None:
    result(process, works.call(*write))
    assert process.log.take() == "hello\n"
    result(process, works.call(print, "goodbye"))
    assert process.log.take() == "goodbye\n"


@pytest.mark.parametrize("on_disk", [16 << 20, 1 << 20])
def test_a_flood_of_lines_leaves_its_beginning_and_its_end(
    process: WorkerProcess, works: Any, monkeypatch: pytest.MonkeyPatch, on_disk: int
) -> None:
    monkeypatch.setattr("marsbench.execution.worker._LOG_ON_DISK", on_disk)
    result(process, works.call(works.print_lines, 180_000))
    log = process.log.take()
    numbers = [line[5:].strip() for line in log.splitlines()]
    assert (numbers[:2], numbers[-2:]) == (["0", "1"], ["179998", "179999"])
    assert log.count("\n[...]\n") == 1
    assert len(log) < 132_000
    assert process.log.take() == ""


@pytest.mark.parametrize("after", ["", "one line more\n"])
def test_the_end_of_a_flood_is_kept_if_the_log_is_cut_just_behind_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: str
) -> None:
    monkeypatch.setattr(worker, "_LOG_ON_DISK", 1 << 20)
    log = worker._Log(tmp_path)
    log.file.write(b"".join(b"line %94d\n" % number for number in range(20_000)))
    log.trim()
    log.file.write(after.encode())
    told = log.take()
    log.close()
    assert told.startswith(f"line {0:94}\n")
    assert told.endswith(f"line {19_999:94}\n{after}")
    assert (told.count("\n[...]\n"), len(told)) == (1, 2 * (64 << 10) + len("\n[...]\n"))


@pytest.mark.parametrize("count", [1, 640, 700, 1300])
def test_a_log_of_middling_length_is_kept_whole(process: WorkerProcess, works: Any, count: int) -> None:
    result(process, works.call(works.print_lines, count))
    assert process.log.take().splitlines() == [f"line {number:94}" for number in range(count)]


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ((ctypes.string_at, 0), "the worker process was killed by SIGSEGV"),
        ((os.abort,), "the worker process was killed by SIGABRT"),
        ((os._exit, 7), "the worker process ended itself with exit status 7"),
        ((signal.raise_signal, signal.SIGKILL), "the worker process was killed by SIGKILL (out of memory?)"),
        ((signal.raise_signal, 40), "the worker process was killed by signal 40"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_a_process_died_is_named(
    process: WorkerProcess, works: Any, work: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(WorkerDied, match=re.escape(message)):
        result(process, works.call(*work))
    assert not process.alive


def test_a_crash_in_native_code_leaves_its_python_lines_in_the_log(
    process: WorkerProcess, works: Any
) -> None:
    with pytest.raises(WorkerDied):
        result(process, works.call(ctypes.string_at, 0))
    log = process.log.take()
    assert "Segmentation fault" in log
    assert "in string_at" in log


def test_a_process_that_is_killed_from_outside_is_named_so(process: WorkerProcess, works: Any) -> None:
    result(process, works.call(abs, -1))  # it has started
    threading.Timer(0.3, os.kill, (pid_of(process), signal.SIGKILL)).start()
    with pytest.raises(WorkerDied, match=r"killed by SIGKILL \(out of memory\?\)"):
        result(process, works.call(time.sleep, 60))


def test_a_process_that_died_while_idle_says_so_when_asked(
    process: WorkerProcess, works: Any, gone: Any
) -> None:
    result(process, works.call(abs, -1))
    idle = psutil.Process(pid_of(process))
    idle.kill()
    gone([idle])
    with pytest.raises(WorkerDied, match="killed by SIGKILL"):
        result(process, works.call(abs, -1))


@pytest.mark.parametrize("leave", ["fork_and", "close_pipes_and"])
def test_a_dead_process_is_noticed_whatever_became_of_its_pipes(
    process: WorkerProcess, works: Any, leave: str
) -> None:
    with pytest.raises(WorkerDied, match="exit status 7"):
        result(process, works.call(getattr(works, leave), os._exit, 7))


def test_a_copy_that_a_task_makes_of_its_process_answers_nothing(process: WorkerProcess, works: Any) -> None:
    result(process, works.call(os.fork))
    assert [result(process, works.call(abs, -number)) for number in range(5)] == [0, 1, 2, 3, 4]


def test_a_task_that_closes_its_pipes_and_ends_has_not_answered(process: WorkerProcess, works: Any) -> None:
    with pytest.raises(WorkerDied, match="exit status 1"):
        result(process, works.call(works.close_pipes_and, abs, -1))


def test_a_task_that_closes_its_pipes_and_lives_on_is_ended_at_its_time_limit(
    process: WorkerProcess, works: Any
) -> None:
    work = works.call(works.close_pipes_and, time.sleep, 60)
    assert result(process, work, Limits(seconds=0.5)).kind == "TimeLimit"
    assert not process.alive


@pytest.mark.parametrize(
    "end", [(os._exit, 7), (ctypes.string_at, 0), (time.sleep, 60)], ids=["exits", "crashes", "hangs"]
)
def test_what_a_task_started_ends_with_its_process(
    process: WorkerProcess, works: Any, tmp_path: Path, gone: Any, end: tuple[Any, ...]
) -> None:
    result(process, works.call(abs, -1))  # it has started
    work = works.call(works.leave_process_and, tmp_path / "pid", *end)
    with suppress(WorkerDied):
        result(process, work, Limits(seconds=1))
    with suppress(psutil.NoSuchProcess):
        gone([psutil.Process(int((tmp_path / "pid").read_text()))])


@pytest.mark.parametrize(
    ("hang", "line"),
    [
        (("time.sleep", 60), "in _call"),
        (("re.match", "(a+)+$", "a" * 40 + "b"), "in match"),
        (("works.sleep_alone", 60), "in sleep_alone"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_task_is_stopped_at_its_time_limit_and_the_log_says_where(
    process: WorkerProcess, works: Any, hang: tuple[Any, ...], line: str
) -> None:
    result(process, works.call(abs, -1))  # it has started
    work = works.call(pydoc.locate(hang[0]), *hang[1:])
    failure = result(process, work, Limits(seconds=1.5))
    assert (failure.kind, failure.message) == ("TimeLimit", "stopped at its time limit of 1.5 s")
    assert line in process.log.take()
    assert not process.alive


def test_a_task_that_stops_its_own_process_is_stopped_at_its_time_limit(
    process: WorkerProcess, works: Any
) -> None:
    work = works.call(signal.raise_signal, signal.SIGSTOP)
    assert result(process, work, Limits(seconds=0.5)).kind == "TimeLimit"
    assert not process.alive


def test_each_task_has_the_whole_time_limit(process: WorkerProcess, works: Any) -> None:
    result(process, works.call(abs, -1))  # it has started
    for _ in range(3):
        assert result(process, works.call(time.sleep, 0.6), Limits(seconds=1.5)) is None


def test_a_task_is_stopped_at_its_memory_limit(process: WorkerProcess, works: Any) -> None:
    failure = result(process, works.call(works.fill, 600 << 20), Limits(memory=300_000_000))
    assert failure.kind == "MemoryLimit"
    assert re.fullmatch(r"stopped because it took 0\.\d\d GB, the limit is 0\.30 GB", failure.message)
    assert not process.alive


def test_each_task_has_a_process_of_its_own(process: WorkerProcess, works: Any) -> None:
    pids = {result(process, works.call(os.getpid)) for _ in range(3)}
    assert len(pids - {pid_of(process), os.getpid()}) == 3
    assert not any(map(psutil.pid_exists, pids - {pid_of(process)}))


def test_tasks_kept_under_one_name_share_a_process(process: WorkerProcess, works: Any) -> None:
    names = ["one", "one", "two", "", "", "one"]
    pids = [result(process, works.call(os.getpid), kept=name) for name in names]
    assert pids[0] == pids[1]
    assert len(set(pids)) == 5


def test_a_kept_process_in_which_a_thread_is_left_does_no_other_task(
    process: WorkerProcess, works: Any
) -> None:
    first = result(process, works.call(os.getpid), kept="one")
    assert result(process, works.call(works.leave_thread), kept="one") is None
    assert result(process, works.call(os.getpid), kept="one") != first


@pytest.mark.parametrize("leave", ["leave_thread", "leave_user_thread", "leave_exit_handler"])
def test_nothing_that_a_task_leaves_delays_or_follows_its_answer(
    process: WorkerProcess, works: Any, leave: str
) -> None:
    result(process, works.call(abs, -1))  # it has started
    start = time.monotonic()
    assert result(process, works.call(getattr(works, leave))) is None
    assert result(process, works.call(abs, -1)) == 1
    assert time.monotonic() - start < 10


def test_a_process_that_a_task_leaves_ends_with_the_task(
    process: WorkerProcess, works: Any, gone: Any
) -> None:
    left = result(process, works.call(works.leave_process))
    with suppress(psutil.NoSuchProcess):
        gone([psutil.Process(left)])


@pytest.mark.parametrize("name", ["", "one"])
def test_a_task_finds_its_process_as_a_new_one(process: WorkerProcess, works: Any, name: str) -> None:
    """Whatever a task of another name did to its own."""
    before = result(process, works.call(works.state), kept="before")
    spoilt = result(process, works.call(works.spoil_state), kept=name)
    assert {name for name in before if before[name] != spoilt[name]} == set(before)
    assert result(process, works.call(works.state), kept="after") == before
    assert result(process, works.call(works.state)) == before


PARENT = """
import os, pickle, sys, tempfile, time
import works
from marsbench.execution.limits import Limits
from marsbench.execution.worker import Isolation, WorkerProcess
KEPT = Isolation("", 1, Limits(), "kept")
process = WorkerProcess(1)
print(process._process.pid)
print(process.run(pickle.dumps(works.call(tempfile.mkdtemp)), KEPT, print))
print(process.run(pickle.dumps(works.call(os.getpid)), KEPT, print))
print(process.run(pickle.dumps(works.call(works.leave_process)), KEPT, print), flush=True)
if sys.argv[1] == "busy":
    process.run(pickle.dumps(works.call(time.sleep, 60)), KEPT, print)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.usefixtures("works")
def test_a_process_whose_parent_is_killed_ends_with_all_it_started(gone: Any, state: str) -> None:
    command = [sys.executable, "-c", PARENT, state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server, folder, *others = (parent.stdout.readline().strip() for _ in range(4))
        family = [psutil.Process(int(pid)) for pid in (server, *others)]
        time.sleep(0.1)
        parent.kill()
    gone(family)
    assert not Path(folder).parent.exists()


@pytest.mark.parametrize("is_killed", [False, True])
def test_temporary_files_that_tasks_leave_end_with_the_process(works: Any, is_killed: bool) -> None:
    process = WorkerProcess(1)
    left = Path(result(process, works.call(tempfile.mkdtemp)))
    assert left.is_dir()
    if is_killed:
        os.kill(pid_of(process), signal.SIGKILL)
    process.close()
    assert not left.parent.exists()
    assert left.parent.parent == Path(tempfile.gettempdir())


def test_closing_ends_the_process_and_frees_its_files(works: Any) -> None:
    WorkerProcess(threads=1).close()  # the first one may open what all share
    before = psutil.Process().num_fds()
    process = WorkerProcess(threads=1)
    pid = result(process, works.call(os.getpid))
    process.close()
    assert not psutil.pid_exists(pid)
    assert psutil.Process().num_fds() == before
