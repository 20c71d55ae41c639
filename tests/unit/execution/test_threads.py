import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from marsbench.execution.limits import THREAD_VARIABLES, environment_for, limited_threads


def pools() -> set[int]:
    """Threads of the libraries that are loaded."""
    return {pool["num_threads"] for pool in threadpool_info()}


def test_the_environment_is_this_one_but_for_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("MARSBENCH_HOME", "/somewhere")
    environment = environment_for(3)
    assert environment["MARSBENCH_HOME"] == "/somewhere"
    assert {environment[name] for name in THREAD_VARIABLES} == {"3"}
    assert os.environ["OMP_NUM_THREADS"] == "64"


def test_a_process_with_that_environment_computes_with_so_many_threads() -> None:
    script = "import numpy, threadpoolctl; print({p['num_threads'] for p in threadpoolctl.threadpool_info()})"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment_for(1), capture_output=True, text=True, check=True)
    assert done.stdout == "{1}\n"


def test_libraries_that_are_loaded_are_held_to_the_limit_and_let_go() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    before = pools()
    with limited_threads(1):
        assert pools() == {1}
    assert pools() == before


@pytest.mark.parametrize("value", [None, "7"])
def test_libraries_loaded_inside_read_the_limit_and_later_ones_do_not(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    with limited_threads(2):
        assert {os.environ[name] for name in THREAD_VARIABLES} == {"2"}
    assert {os.environ.get(name) for name in THREAD_VARIABLES} == {value}


def test_the_limit_ends_with_an_exception_too() -> None:
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    with pytest.raises(ValueError, match="no luck"), limited_threads(2):
        raise ValueError("no luck")
    assert {name: os.environ.get(name) for name in THREAD_VARIABLES} == before
