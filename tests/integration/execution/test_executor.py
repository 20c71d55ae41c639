"""Which executor is opened, and what holds for every executor on this machine."""

import math
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from marsbench.config import Execution
from marsbench.errors import ConfigError
from marsbench.execution.base import EpochBar, Executor, Outcome, Task, Work
from marsbench.execution.dask_cluster import DaskExecutor
from marsbench.execution.executor import InProcess, LocalPool, n_workers, open_executor
from marsbench.progress import Silent


class Heard(EpochBar):
    """Keeps what it is told."""

    def __init__(self, name: str, told: list[tuple[Any, ...]]) -> None:
        super().__init__(Silent(), name)
        self.name, self.told = name, told

    def started(self) -> None:
        self.told.append((self.name, "started"))

    def epoch(self, epoch: int, most: int) -> None:
        self.told.append((self.name, epoch, most))


@pytest.fixture(scope="module", params=[0, 1, 2], ids=["in this process", "one worker", "two workers"])
def executor(request: pytest.FixtureRequest, works: Any) -> Iterator[Executor]:  # noqa: ARG001 - for its processes
    """An executor with so many workers, open for test after test."""
    with open_executor(Execution(workers=request.param)) as executor:
        yield executor


def tasks(*works: Work) -> list[Task]:
    return [Task(f"task {number}", work) for number, work in enumerate(works)]


def outcomes(
    executor: Executor, tasks: Iterable[Task], told: list[tuple[Any, ...]] | None = None
) -> dict[str, Outcome]:
    tasks, told = list(tasks), [] if told is None else told
    with ThreadPoolExecutor(10) as pool:
        done = pool.map(lambda task: executor.submit(task, Heard(task.name, told)), tasks)
        return {task.name: outcome for task, outcome in zip(tasks, done, strict=True)}


def test_every_task_has_its_outcome(executor: Executor, works: Any) -> None:
    done = outcomes(executor, tasks(*(works.call(math.sqrt, number) for number in range(20))))
    assert done == {f"task {number}": Outcome(math.sqrt(number)) for number in range(20)}


def test_no_tasks_have_no_outcomes(executor: Executor) -> None:
    assert outcomes(executor, []) == {}


def test_tasks_of_one_name_are_kept_apart(executor: Executor, works: Any) -> None:
    twins = [Task("twin", works.call(abs, number)) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda task: executor.submit(task, Heard(task.name, [])), twins))
    assert [outcome.value for outcome in done] == [0, 1, 2, 3]


def test_a_failing_task_disturbs_no_other(executor: Executor, works: Any) -> None:
    fails = works.call(works.fail, ValueError("no luck"))
    done = outcomes(executor, tasks(works.call(abs, -1), fails, works.call(works.fail, SystemExit(3)), fails))
    assert done["task 0"].value == 1
    assert [done[f"task {number}"].value.kind for number in (1, 2, 3)] == [
        "ValueError", "SystemExit", "ValueError",
    ]  # fmt: skip


def test_a_refused_setting_ends_the_run_and_the_executor_goes_on(executor: Executor, works: Any) -> None:
    refused = works.call(works.fail, ConfigError("no such kernel"))
    with pytest.raises(ConfigError, match=r"^no such kernel$"):
        outcomes(executor, tasks(refused, *[works.call(time.sleep, 0.1)] * 5))
    assert outcomes(executor, tasks(works.call(abs, -1))) == {"task 0": Outcome(1)}


def test_bars_are_told_of_starts_and_epochs_while_tasks_run(executor: Executor, works: Any) -> None:
    told: list[tuple[Any, ...]] = []
    counts = works.partial(works.count_epochs, 2)
    outcomes(executor, tasks(counts, works.call(abs, 1), works.call(time.sleep, 0.5)), told)
    assert [one for one in told if one[0] == "task 0"] == [
        ("task 0", "started"), ("task 0", 1, 2), ("task 0", 2, 2),
    ]  # fmt: skip
    assert ("task 1", "started") in told


def test_no_more_tasks_run_at_once_than_there_are_slots(executor: Executor, works: Any) -> None:
    told: list[tuple[Any, ...]] = []
    start = time.monotonic()
    outcomes(executor, tasks(*[works.call(time.sleep, 0.3)] * 4), told)
    assert len(told) == 4
    assert time.monotonic() - start >= 4 * 0.3 / executor.slots


def test_files_of_this_machine_are_seen(executor: Executor, tmp_path: Path) -> None:
    assert executor.sees(tmp_path)
    assert not executor.sees(tmp_path / "nothing")
    executor.provide([tmp_path])


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (Execution(workers=0), InProcess),
        (Execution(), InProcess),  # by the variable that tests are run with
        (Execution(workers=3), LocalPool),
        (Execution(cluster="tcp://127.0.0.1:8786"), DaskExecutor),
        (Execution(workers=1, unit_timeout=1800, unit_memory=4 << 30), LocalPool),
    ],
)
def test_the_executor_is_the_one_that_was_asked_for(asked: Execution, kind: type[Executor]) -> None:
    assert isinstance(open_executor(asked), kind)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Execution(workers=0, unit_timeout=1), "a unit in this process has no limits; use --workers 1 with"),
        (Execution(workers=0, unit_memory=1), "a unit in this process has no limits; use --workers 1 with"),
        (Execution(workers=2, cluster="tcp://127.0.0.1:1"), "--workers and --cluster exclude each other"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(asked: Execution, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        open_executor(asked)


@pytest.mark.parametrize(("variable", "workers", "expected"), [("3", None, 3), ("3", 1, 1), ("0", None, 0)])
def test_workers_are_as_asked_or_else_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variable: str, workers: int | None, expected: int
) -> None:
    monkeypatch.setenv("MARSBENCH_WORKERS", variable)
    assert n_workers(Execution(workers=workers)) == expected


@pytest.mark.parametrize("variable", ["two", "-1", "1.5", " "])
def test_a_number_of_workers_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("MARSBENCH_WORKERS", variable)
    with pytest.raises(ConfigError, match=f"MARSBENCH_WORKERS={variable}: a whole number is needed"):
        n_workers(Execution())


@pytest.mark.parametrize(
    ("cores", "memory", "threads", "expected"),
    [(8, 64e9, 1, 8), (8, 64e9, 4, 2), (8, 5e9, 1, 2), (2, 1e9, 4, 1)],
)
def test_by_default_there_are_as_many_workers_as_cores_and_memory_allow(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory: float, threads: int, expected: int
) -> None:
    monkeypatch.delenv("MARSBENCH_WORKERS")
    monkeypatch.setattr("marsbench.execution.executor.n_cores", lambda: cores)
    monkeypatch.setattr("marsbench.execution.executor.memory_limit", lambda: int(memory))
    assert n_workers(Execution(threads=threads)) == expected
