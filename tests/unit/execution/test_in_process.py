import os
import re
import sys
import threading
from pathlib import Path

import pytest

from marsbench.config import Execution
from marsbench.environment import install_hint
from marsbench.errors import ExportError
from marsbench.execution.base import Called, EpochBar, Outcome, Task, Work
from marsbench.execution.executor import InProcess, open_executor
from marsbench.execution.limits import THREAD_VARIABLES
from marsbench.plugin.model import OnEpoch
from marsbench.progress import Silent


def outcome(executor: InProcess, work: Work) -> Outcome:
    return executor.submit(Task("a", work), EpochBar(Silent(), "a"))


def test_work_is_done_in_this_thread() -> None:
    with InProcess(1) as executor:
        done = outcome(executor, lambda _: threading.current_thread())
    assert done.value is threading.current_thread()


def test_what_is_printed_goes_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with InProcess(1) as executor:
        done = outcome(executor, lambda _: print("hello"))  # noqa: T201 - what is tested
    assert done.log == ""
    assert capsys.readouterr().out == "hello\n"


def test_ctrl_c_interrupts_the_work() -> None:
    def interrupted(_: OnEpoch) -> None:
        raise KeyboardInterrupt

    with InProcess(1) as executor, pytest.raises(KeyboardInterrupt):
        outcome(executor, interrupted)


def test_work_is_done_with_the_given_number_of_threads_and_what_follows_as_before() -> None:
    before = [os.environ.get(name) for name in THREAD_VARIABLES]
    with InProcess(3) as executor:
        done = outcome(executor, lambda _: [os.environ[name] for name in THREAD_VARIABLES])
    assert done.value == ["3"] * len(THREAD_VARIABLES)
    assert [os.environ.get(name) for name in THREAD_VARIABLES] == before


def test_a_cluster_without_its_packages_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        ExportError, match=re.escape(f"distributed is not installed: {install_hint('cluster')}")
    ):
        open_executor(Execution(cluster="tcp://127.0.0.1:1"))


class Said(Silent):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def said_of(*plugins: Called | None) -> list[str]:
    """What is said while a task of each plugin runs in this process."""
    said = Said()
    with InProcess(1) as executor:
        for plugin in plugins:
            executor.submit(Task("fit", lambda _: None, plugin), EpochBar(said, "fit"))
    return said.lines


def test_a_plugin_that_is_not_built_in_is_said_once_to_share_the_process(kit: Path) -> None:
    own = Called("models", "nearest_mean", (kit,))
    (line,) = said_of(None, own, own, Called("models", "svm", (kit,)))
    assert line.startswith("--workers 0: all tasks of nearest_mean share this process")
