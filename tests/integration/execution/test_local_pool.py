import ctypes
import os
import pickle
import pydoc
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from marsbench.errors import ConfigError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Outcome, Work
from marsbench.execution.local_pool import Isolation, close_session, run_isolated
from marsbench.execution.worker import Limits

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


def test_one_process_serves_task_after_task(run: Run, works: Any) -> None:
    pids = {run(works.call(os.getpid)).value for _ in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_tasks_at_the_same_time_have_processes_of_their_own(run: Run, works: Any) -> None:
    pids: list[int] = []
    work = works.call(works.getpid_after, 0.5)
    threads = [threading.Thread(target=lambda: pids.append(run(work).value)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 3


@pytest.mark.parametrize("spoil", ["leave_thread", "exhaust_time", "die", "be_killed_while_idle"])
def test_a_spoilt_process_is_replaced(run: Run, works: Any, spoil: str) -> None:
    pid = run(works.call(os.getpid)).value
    if spoil == "leave_thread":
        assert run(works.call(works.leave_thread)) == Outcome(None)
    elif spoil == "exhaust_time":
        assert run(works.call(time.sleep, 60), seconds=0.3).value.kind == "TimeLimit"
    elif spoil == "die":
        assert run(works.call(os._exit, 1)).value.kind == "WorkerDied"
    else:
        psutil.Process(pid).kill()
    assert run(works.call(os.getpid)).value not in (pid, None)


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
    pid = run(works.call(os.getpid)).value
    with pytest.raises(ConfigError, match="no such kernel"):
        run(works.call(works.fail, ConfigError("no such kernel")))
    assert run(works.call(os.getpid)).value == pid


def test_no_task_gets_the_answer_of_one_that_was_left_alone(run: Run, works: Any, session: str) -> None:
    def lost(*_: int) -> None:
        raise ConnectionError

    payload = pickle.dumps(works.partial(works.count_epochs, 3))
    with pytest.raises(ConnectionError):
        run_isolated(payload, Isolation(session, 1, Limits()), lambda: None, lost)
    assert run(works.call(abs, -1)).value == 1


def test_the_process_of_one_driver_serves_no_other(run: Run, works: Any, another_session: str) -> None:
    first = run(works.call(os.getpid)).value
    assert run(works.call(os.getpid), another_session).value != first
    assert not psutil.pid_exists(first)


def test_closing_a_session_ends_what_is_under_way(run: Run, works: Any, another_session: str) -> None:
    idle = run(works.call(os.getpid), another_session).value
    threading.Timer(0.3, close_session, [another_session]).start()
    outcome = run(works.call(time.sleep, 60), another_session)
    assert outcome.value.kind == "WorkerDied"
    assert not psutil.pid_exists(idle)
    assert run(works.call(abs, -1), another_session).value.message == "the run was stopped"
