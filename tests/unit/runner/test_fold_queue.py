from collections.abc import Iterator
from typing import Any

import pytest

from marsbench.execution.base import Outcome, Task
from marsbench.execution.interrupt import Stopped
from marsbench.runner.fold_queue import FoldQueue, FoldWork, Steps


def steps(name: str, count: int) -> Steps:
    """So many tasks, one after the other; gives what the last came to."""
    outcome = Outcome(None)
    for number in range(count):
        outcome = yield Task(f"{name}{number}", lambda _: None)
    return outcome


class Batches:
    """Folds of runs, and what became of them."""

    def __init__(self, *runs: dict[str, int]) -> None:
        self.ended: dict[str, Any] = {}
        self.begun: list[str] = []
        self._runs = runs

    def __iter__(self) -> Iterator[list[FoldWork]]:
        for run in self._runs:
            yield [self._work(name, count) for name, count in run.items()]

    def _work(self, name: str, count: int) -> FoldWork:
        return FoldWork(
            steps(name, count),
            lambda: self.begun.append(name),
            lambda outcome: self.ended.update({name: outcome.value}),
        )


def taken(queue: FoldQueue) -> list[str]:
    """Names of tasks in the order of one worker."""
    names = []
    while (task := next(queue, None)) is not None:
        names.append(task.name)
        queue.take(task, Outcome(task.name))
    return names


def test_folds_of_a_run_get_on_side_by_side() -> None:
    batches = Batches({"a": 3, "b": 2})
    assert taken(FoldQueue(iter(batches))) == ["a0", "b0", "a1", "b1", "a2"]
    assert batches.ended == {"a": "a2", "b": "b1"}
    assert batches.begun == ["a", "b"]


def test_the_next_run_begins_when_no_task_is_left_to_hand_out() -> None:
    queue = FoldQueue(iter(Batches({"a": 2}, {"b": 1})))
    first, second = next(queue), next(queue)
    assert (first.name, second.name) == ("a0", "b0")
    assert next(queue, None) is None
    queue.take(first, Outcome(1))
    assert next(queue).name == "a1"


def test_a_fold_without_tasks_ends_at_once() -> None:
    batches = Batches({"a": 0, "b": 1})
    assert taken(FoldQueue(iter(batches))) == ["b0"]
    assert batches.begun == ["b"]
    assert batches.ended.keys() == {"a", "b"}


def test_a_fold_that_stops_for_ctrl_c_lets_the_others_come_in() -> None:
    def stopping() -> Steps:
        yield Task("first", lambda _: None)
        raise Stopped

    ended: list[Any] = []
    works = [
        FoldWork(stopping(), lambda: None, ended.append),
        FoldWork(steps("other", 1), lambda: None, ended.append),
    ]
    queue = FoldQueue(iter([works]))
    tasks = [next(queue), next(queue)]
    for task in tasks:
        queue.take(task, Outcome(task.name))
    assert [outcome.value for outcome in ended] == ["other0"]


def test_what_a_fold_raises_ends_the_queue() -> None:
    def failing() -> Steps:
        yield Task("first", lambda _: None)
        raise OSError("full")

    queue = FoldQueue(iter([[FoldWork(failing(), lambda: None, print)]]))
    with pytest.raises(OSError, match="full"):
        queue.take(next(queue), Outcome(1))
