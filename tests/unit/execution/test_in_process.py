import os

import pytest

from marsbench.execution.base import Task
from marsbench.execution.executor import InProcess
from marsbench.execution.threads import VARIABLES
from marsbench.plugin.model import OnEpoch


class Deaf:
    """Listens to nothing."""

    def started(self, task: Task) -> None: ...

    def epoch(self, task: Task, epoch: int, most: int) -> None: ...

    def waiting(self, why: str) -> None: ...


def test_work_is_done_in_this_process_when_its_outcome_is_asked_for() -> None:
    done: list[int] = []
    tasks = [Task(str(number), lambda _, number=number: done.append(number)) for number in range(3)]  # type: ignore[misc]
    with InProcess(1) as executor:
        outcomes = executor.run(tasks, Deaf(), lambda: False)
        assert done == []
        next(outcomes)
        assert done == [0]


def test_what_is_printed_goes_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    greets = Task("a", lambda _: print("hello"))  # noqa: T201 - what is tested
    with InProcess(1) as executor:
        ((_, outcome),) = executor.run([greets], Deaf(), lambda: False)
    assert outcome.log == ""
    assert capsys.readouterr().out == "hello\n"


def test_ctrl_c_interrupts_the_work() -> None:
    def interrupted(_: OnEpoch) -> None:
        raise KeyboardInterrupt

    with InProcess(1) as executor, pytest.raises(KeyboardInterrupt):
        next(executor.run([Task("a", interrupted)], Deaf(), lambda: False))


def test_work_is_done_with_the_given_number_of_threads_which_end_with_the_context() -> None:
    before = [os.environ.get(name) for name in VARIABLES]
    with InProcess(3) as executor:
        task = Task("a", lambda _: [os.environ[name] for name in VARIABLES])
        ((_, outcome),) = executor.run([task], Deaf(), lambda: False)
    assert outcome.value == ["3"] * len(VARIABLES)
    assert [os.environ.get(name) for name in VARIABLES] == before
