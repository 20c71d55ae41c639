"""Functions side by side, on executors that a test makes up."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from marsbench.execution.base import EpochBar, Executor, Outcome, Task
from marsbench.execution.scheduler import Scheduler, Stopped
from marsbench.progress import Silent


class FakeExecutor(Executor):
    """Answers the name of a task at once, or when it is let go on; keeps the order."""

    def __init__(self, slots: int = 1, runs_in_caller: bool = True) -> None:
        self.slots, self.runs_in_caller = slots, runs_in_caller
        self.names: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.at_once = 0
        self._running = 0
        self.gate = threading.Event()
        self.gate.set()

    def submit(self, task: Task, bar: EpochBar) -> Outcome:
        bar.started()
        self.names.append(task.name)
        self.threads.add(threading.current_thread())
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        assert self.gate.wait(10)
        value = task.work(lambda *_: None)
        self._running -= 1
        return Outcome(value)


class Fixture:
    """A scheduler with an executor, and functions that submit tasks."""

    def __init__(self, executor: FakeExecutor) -> None:
        self.executor = executor
        self.stop = threading.Event()
        self.scheduler = Scheduler(self.stop.is_set, Silent())
        self.ended: list[str] = []
        self.begun: list[str] = []

    def run(self, *functions: Callable[[], object]) -> None:
        self.scheduler.run(functions)

    def submit(self, name: str, work: Callable[[], Any] | None = None) -> Any:
        task = Task(name, lambda _: work() if work else name)
        return self.scheduler.submit(task, self.executor, lambda: self.begun.append(name)).value

    def chain(self, name: str, count: int) -> Callable[[], None]:
        """A function of so many tasks, one after the other."""

        def function() -> None:
            for number in range(count):
                assert self.submit(f"{name}{number}") == f"{name}{number}"
            self.ended.append(name)

        return function

    def together(self, *functions: Callable[[], object]) -> Callable[[], None]:
        return partial(self.scheduler.side_by_side, functions)


@pytest.fixture
def one() -> Fixture:
    """One slot, in this thread."""
    return Fixture(FakeExecutor())


def two_slots() -> Fixture:
    return Fixture(FakeExecutor(slots=2, runs_in_caller=False))


def test_functions_that_are_begun_together_get_on_side_by_side(one: Fixture) -> None:
    one.run(one.together(one.chain("a", 3), one.chain("b", 2)))
    assert one.executor.names == one.begun == ["a0", "b0", "a1", "b1", "a2"]
    assert one.ended == ["b", "a"]


def test_the_next_function_begins_when_the_slot_is_free_for_it(one: Fixture) -> None:
    one.run(one.chain("a", 2), one.chain("b", 1))
    assert one.executor.names == ["a0", "a1", "b0"]


def test_tasks_of_earlier_functions_go_first() -> None:
    there = two_slots()
    names = there.executor.names

    def a() -> None:
        there.submit("a0", lambda: until("b0"))
        there.submit("a1")

    def until(name: str) -> None:
        while name not in names:
            time.sleep(0.01)

    long = partial(there.submit, "b0", lambda: until("a1"))
    there.run(a, there.together(long, there.chain("c", 1)))
    assert sorted(names[:2]) == ["a0", "b0"]  # side by side
    assert names[2:] == ["a1", "c0"]


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_no_more_tasks_run_at_once_than_there_are_slots(slots: int) -> None:
    there = Fixture(FakeExecutor(slots, runs_in_caller=False))
    pause = partial(time.sleep, 0.01)
    there.run(there.together(*(partial(there.submit, str(number), pause) for number in range(12))))
    assert there.executor.at_once == slots
    assert threading.current_thread() not in there.executor.threads


def test_functions_are_taken_when_there_is_room_for_their_tasks() -> None:
    there = two_slots()
    taken: list[int] = []

    def functions() -> Iterator[Callable[[], object]]:
        for number in range(9):
            taken.append(number)
            yield partial(work, number)

    def work(number: int) -> None:
        there.submit(str(number), partial(time.sleep, 0.02))
        assert len(taken) <= number + 3

    there.scheduler.run(functions())
    assert len(taken) == 9


def test_where_tasks_run_in_the_caller_it_is_the_thread_that_runs_the_functions(one: Fixture) -> None:
    one.run(one.together(one.chain("a", 2), one.chain("b", 2)))
    assert one.executor.threads == {threading.current_thread()}


def test_one_function_computes_at_a_time() -> None:
    there = Fixture(FakeExecutor(slots=4, runs_in_caller=False))
    computing: list[int] = []

    def function(number: int) -> None:
        for _ in range(20):
            computing.append(number)
            time.sleep(0.001)
            assert computing == [number]
            computing.clear()
            there.submit("task")

    there.run(there.together(*(partial(function, number) for number in range(6))))


def test_who_lets_others_go_on_is_not_waited_for() -> None:
    there = two_slots()

    def waits() -> None:
        with there.scheduler.others_go_on():
            assert other_has_ended.wait(10)

    other_has_ended = threading.Event()
    there.run(there.together(waits, other_has_ended.set))


def test_many_tasks_of_one_function_run_at_once_and_others_go_on() -> None:
    there = two_slots()
    tasks = [Task(str(number), lambda _, number=number: number) for number in range(9)]  # type: ignore[misc]
    found: list[int] = []

    def many() -> None:
        with there.scheduler.others_go_on():
            found.extend(outcome.value for outcome in there.scheduler.submit_all(tasks, there.executor))

    there.run(there.together(many, there.chain("a", 3)))
    assert sorted(found) == list(range(9))
    assert there.ended == ["a"]


def test_a_function_without_tasks_ends_and_no_functions_are_none_too_few(one: Fixture) -> None:
    one.run(one.chain("a", 0), one.chain("b", 1), one.together())
    one.run()
    assert one.ended == ["a", "b"]


@contextmanager
def interrupted() -> Iterator[None]:
    with pytest.raises(Stopped):
        yield


@pytest.mark.parametrize("slots", [1, 2])
def test_after_ctrl_c_no_task_begins_and_those_that_run_come_in(slots: int) -> None:
    there = Fixture(FakeExecutor(slots, runs_in_caller=slots == 1))
    came_in: list[str] = []
    all_begun = threading.Barrier(slots)

    def function(name: str) -> None:
        came_in.append(there.submit(name, partial(press_after, name)))
        there.submit("never")

    def press_after(name: str) -> str:
        all_begun.wait(10)
        there.stop.set()
        time.sleep(0.5)  # longer than it takes to be seen
        return name

    with interrupted():
        there.run(*(partial(function, name) for name in "abc"), there.chain("d", 1))
    assert sorted(came_in) == list("abc")[:slots]
    assert "never" not in there.executor.names
    with interrupted():
        there.run(there.chain("e", 1))
    assert there.ended == []


def test_after_ctrl_c_whoever_waits_for_others_is_stopped_unless_all_came_in(one: Fixture) -> None:
    after: list[str] = []

    def parent(name: str, *functions: Callable[[], object]) -> None:
        one.scheduler.side_by_side(functions)
        after.append(name)

    presses = partial(one.submit, "presses", one.stop.set)
    with interrupted():
        one.run(partial(parent, "all", presses), partial(parent, "none", one.chain("a", 1)))
    assert after == ["all"]
    other = Fixture(FakeExecutor())
    with interrupted():
        other.run(other.together(partial(other.submit, "presses", other.stop.set), other.chain("a", 2)))


def test_many_tasks_give_what_came_in_before_they_are_stopped() -> None:
    there = two_slots()
    found: list[object] = []

    both_begun = threading.Barrier(2)

    def press() -> None:
        both_begun.wait(10)
        there.stop.set()
        time.sleep(0.4)  # longer than it takes to be seen

    def many() -> None:
        tasks = [Task("task", lambda _: press()) for _ in range(9)]
        with there.scheduler.others_go_on():
            found.extend(there.scheduler.submit_all(tasks, there.executor))

    with interrupted():
        there.run(many)
    assert len(there.executor.names) == len(found) == 2


@pytest.mark.parametrize("runs_in_caller", [True, False])
def test_what_a_function_or_its_task_raises_ends_all(runs_in_caller: bool) -> None:
    there = Fixture(FakeExecutor(runs_in_caller=runs_in_caller))

    def full() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        there.run(there.together(partial(there.submit, "fails", full), there.chain("a", 9)))
    assert there.ended == []
    other = Fixture(FakeExecutor(runs_in_caller=runs_in_caller))
    with pytest.raises(OSError, match="full"):
        other.run(other.chain("a", 1), full, other.chain("b", 1))
    assert other.ended == ["a"]


def test_nothing_is_written_for_a_task_that_was_abandoned() -> None:
    there = two_slots()
    there.executor.gate.clear()

    def fails() -> None:
        with there.scheduler.others_go_on():
            time.sleep(0.1)
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        there.run(there.together(there.chain("a", 1), fails))
    there.executor.gate.set()
    time.sleep(0.1)
    assert there.ended == []
