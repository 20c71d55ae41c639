import ctypes
import os
import pickle
import pydoc
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from marsbench.errors import ConfigError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Called, EpochBar, Outcome, Task, Work
from marsbench.execution.executor import LocalPool
from marsbench.execution.limits import Limits
from marsbench.execution.worker import Isolation, close_session, run_isolated
from marsbench.execution.worker_main import can_fork
from marsbench.progress import Silent

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def session() -> Iterator[str]:
    """A driver's mark."""
    name = uuid.uuid4().hex
    yield name
    close_session(name)


@pytest.fixture
def another_session() -> Iterator[str]:
    """Another's, that a test may close."""
    name = uuid.uuid4().hex
    yield name
    close_session(name)


@pytest.fixture
def run(session: str, works: Any) -> Run:  # noqa: ARG001 - its environment is the processes'
    """Run work, by default in that session; keywords are limits."""

    def run(work: Work, session: str = session, **limits: Any) -> Outcome:
        isolation = Isolation(session, 1, Limits(**limits))
        return run_isolated(pickle.dumps(work), isolation, lambda: None, lambda *_: None)

    return run


def test_one_worker_process_serves_task_after_task(run: Run, works: Any) -> None:
    parents = {run(works.call(os.getppid)).value for _ in range(3)}
    assert len(parents) == 1
    assert os.getpid() not in parents


def test_tasks_at_the_same_time_have_processes_of_their_own(run: Run, works: Any) -> None:
    pids: list[int] = []
    work = works.call(works.getppid_after, 0.5)
    threads = [threading.Thread(target=lambda: pids.append(run(work).value)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 3


@pytest.mark.skipif(not can_fork(), reason="processes are started without what they import")
def test_processes_that_are_started_early_have_the_plugin_imported_but_not_tensorflow(works: Any) -> None:
    pool = LocalPool(2, 1, Limits())
    pool.start(Called("models", "svm", ()))
    early = {child.pid for child in psutil.Process().children()}
    names = ("sklearn.svm", "skops.io", "tensorflow", "keras", "librosa")
    asked = f"[__import__('os').getppid(), *(name in __import__('sys').modules for name in {names})]"
    server, *imported = pool.submit(Task("asks", works.call(eval, asked)), EpochBar(Silent(), "asks")).value
    pool.close()
    assert server in early
    assert imported == [True, True, False, False, False]
    assert not any(psutil.pid_exists(pid) for pid in early & {server})


@pytest.mark.parametrize("spoil", ["exhaust_time", "die", "be_killed_while_idle"])
def test_a_spoilt_process_is_replaced(run: Run, works: Any, spoil: str) -> None:
    pid = run(works.call(os.getppid)).value
    if spoil == "exhaust_time":
        assert run(works.call(time.sleep, 60), seconds=0.3).value.kind == "TimeLimit"
    elif spoil == "die":
        assert run(works.call(os._exit, 1)).value.kind == "WorkerDied"
    else:
        psutil.Process(pid).kill()
    assert run(works.call(os.getppid)).value not in (pid, None)


def test_a_task_whose_process_dies_the_first_time_only_is_a_success(
    run: Run, works: Any, tmp_path: Path
) -> None:
    outcome = run(works.call(works.once, tmp_path / "marker", os._exit, 7))
    assert outcome == Outcome("survived", "trying\ntrying\n")


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ((os._exit, 7), "the worker process ended itself with exit status 7, twice"),
        ((ctypes.string_at, 0), "the worker process was killed by SIGSEGV, twice"),
    ],
)
def test_a_task_whose_process_always_dies_is_a_failure(
    run: Run, works: Any, work: tuple[Any, ...], message: str
) -> None:
    failure = run(works.call(*work)).value
    assert failure == Failure(kind="WorkerDied", message=message)


def test_two_deaths_of_different_kinds_are_both_told(run: Run, works: Any, tmp_path: Path) -> None:
    outcome = run(works.call(works.once_and_then_exit, tmp_path / "marker", ctypes.string_at, 0))
    assert outcome.value.message == (
        "the worker process was killed by SIGSEGV; "
        "tried again, the worker process ended itself with exit status 7"
    )
    assert "Segmentation fault" in outcome.log


@pytest.mark.parametrize(
    ("work", "limits"),
    [
        (("time.sleep", 60), {"seconds": 0.3}),
        (("works.fill", 1 << 30), {"memory": 200_000_000}),
        (("works.fail", ValueError("no luck")), {}),
    ],
)
def test_what_would_only_happen_again_is_not_tried_again(
    works: Any, session: str, work: tuple[Any, ...], limits: dict[str, Any]
) -> None:
    started: list[str] = []
    payload = pickle.dumps(works.call(pydoc.locate(work[0]), *work[1:]))
    isolation = Isolation(session, 1, Limits(**limits))
    outcome = run_isolated(payload, isolation, lambda: started.append("once"), lambda *_: None)
    assert isinstance(outcome.value, Failure)
    assert started == ["once"]


def test_a_task_that_is_tried_again_starts_again(works: Any, session: str) -> None:
    started: list[str] = []
    payload = pickle.dumps(works.call(os._exit, 7))
    run_isolated(payload, Isolation(session, 1, Limits()), lambda: started.append("again"), lambda *_: None)
    assert len(started) == 2


def test_a_refused_setting_is_raised_and_spoils_nothing(run: Run, works: Any) -> None:
    pid = run(works.call(os.getppid)).value
    with pytest.raises(ConfigError, match="no such kernel"):
        run(works.call(works.fail, ConfigError("no such kernel")))
    assert run(works.call(os.getppid)).value == pid


def test_no_task_gets_the_answer_of_one_that_was_left_alone(run: Run, works: Any, session: str) -> None:
    def lost(*_: int) -> None:
        raise ConnectionError

    payload = pickle.dumps(works.partial(works.count_epochs, 3))
    with pytest.raises(ConnectionError):
        run_isolated(payload, Isolation(session, 1, Limits()), lambda: None, lost)
    assert run(works.call(abs, -1)).value == 1


def test_the_process_of_one_driver_serves_no_other(run: Run, works: Any, another_session: str) -> None:
    first = run(works.call(os.getppid)).value
    assert run(works.call(os.getppid), another_session).value != first
    assert not psutil.pid_exists(first)


def test_closing_a_session_ends_what_is_under_way(run: Run, works: Any, another_session: str) -> None:
    idle = run(works.call(os.getppid), another_session).value
    threading.Timer(0.3, close_session, [another_session]).start()
    outcome = run(works.call(time.sleep, 60), another_session)
    assert outcome.value.kind == "WorkerDied"
    assert not psutil.pid_exists(idle)
    assert run(works.call(abs, -1), another_session).value.message == "the run was stopped"


NO_LIMITS = Limits()


def outcomes(pool: LocalPool, *works: Work) -> list[Outcome]:
    """Outcomes in the order of the works."""
    tasks = [Task(str(number), work) for number, work in enumerate(works)]
    with ThreadPoolExecutor(len(tasks)) as threads:
        return list(threads.map(lambda task: pool.submit(task, EpochBar(Silent(), task.name)), tasks))


def children() -> list[psutil.Process]:
    """Worker processes of this one; other tests may have processes of their own."""
    found = psutil.Process().children()
    return [process for process in found if "marsbench.execution.worker_main" in process.cmdline()]


def listening(processes: list[psutil.Process]) -> set[str]:
    """Addresses that others could connect to."""
    connections = [found for process in processes for found in process.net_connections("inet")]
    return {found.laddr.ip for found in connections if found.status == psutil.CONN_LISTEN}


def test_a_pool_listens_nowhere(works: Any) -> None:
    before = listening([psutil.Process()])
    with LocalPool(2, 1, NO_LIMITS) as pool:
        outcomes(pool, works.call(abs, -1), works.call(abs, -2))
        assert listening([psutil.Process(), *children()]) == before


def test_workers_end_with_the_context_also_those_at_work(works: Any) -> None:
    start = time.monotonic()
    with ThreadPoolExecutor(1) as thread, LocalPool(2, 1, NO_LIMITS) as pool:
        long = thread.submit(
            pool.submit, Task("long", works.call(time.sleep, 60)), EpochBar(Silent(), "long")
        )
        outcomes(pool, works.call(abs, -1))
        assert len(children()) == 2
    assert children() == []
    assert long.result().value.kind == "WorkerDied"
    assert time.monotonic() - start < 20


def test_a_context_that_is_left_by_an_exception_leaves_no_process(works: Any) -> None:
    with pytest.raises(ValueError, match="no luck"), LocalPool(1, 1, NO_LIMITS) as pool:  # noqa: PT012
        outcomes(pool, works.call(abs, -1))
        raise ValueError("no luck")
    assert children() == []


def test_deaths_are_outcomes_and_the_others_go_on(works: Any, tmp_path: Path) -> None:
    dies_once = works.call(works.once, tmp_path / "marker", os._exit, 7)
    with LocalPool(2, 1, NO_LIMITS) as pool:
        done = outcomes(pool, works.call(os._exit, 7), dies_once, works.call(print, "hello"))
    message = "the worker process ended itself with exit status 7, twice"
    assert done == [
        Outcome(Failure(kind="WorkerDied", message=message)),
        Outcome("survived", "trying\ntrying\n"),
        Outcome(None, "hello\n"),
    ]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(seconds=0.5), "stopped at its time limit of 0.5 s"),
        (Limits(memory=10_000_000), "GB, the limit is 0.01 GB"),
    ],
)
def test_limits_hold_in_workers(works: Any, limits: Limits, message: str) -> None:
    with LocalPool(1, 1, limits) as pool:
        (outcome,) = outcomes(pool, works.call(time.sleep, 60))
    assert outcome.value.message.endswith(message)


def test_without_a_limit_a_task_may_take_an_even_share_of_the_memory(
    works: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.execution.limits.memory_limit", lambda: 800_000_000)
    with LocalPool(2, 1, NO_LIMITS) as pool:
        (outcome,) = outcomes(pool, works.call(works.fill, 1 << 30))
    assert outcome.value.kind == "MemoryLimit"
    assert outcome.value.message.endswith("the limit is 0.36 GB")


def test_two_pools_at_once_do_not_disturb_each_other(works: Any) -> None:
    with LocalPool(1, 1, NO_LIMITS) as first, LocalPool(1, 1, NO_LIMITS) as second:
        for number in range(3):
            assert outcomes(first, works.call(abs, -number)) == [Outcome(number)]
            assert outcomes(second, works.call(abs, -number)) == [Outcome(number)]


def test_a_run_on_this_machine_imports_no_dask(kit: Path, tmp_path: Path) -> None:
    words = ["run", "--features=crossings", "--model=nearest_mean", "--data=tones", f"--plugins={kit}"]
    words += ["--workers=1", "--unit-timeout=1m", "--unit-memory=1GB"]
    code = "import sys\nfrom marsbench.cli.main import app\n"
    code += f"app({words}, standalone_mode=False)\n"
    code += "print({name.partition('.')[0] for name in sys.modules} & {'dask', 'distributed'})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("set()\n"), done.stdout
