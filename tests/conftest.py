"""Fixtures for every test."""

import gc
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from typer.main import get_command
from typer.testing import CliRunner

from marsbench.execution.limits import THREAD_VARIABLES, n_cores
from marsbench.plugin.registry import discover

# The test processes use all cores: more threads in each would wait for one another, up to ten times as long
# as they compute. Set before any test imports a numerical library.
for variable in THREAD_VARIABLES:
    os.environ.setdefault(variable, "1")

# Tests are rewritten for their assertions, which is a third of what it takes to collect them: the result is
# kept beside them though the environment, as in many a container, says otherwise.
sys.dont_write_bytecode = False

# What the tests import has about a million objects that live on: to look through them again and again for
# garbage would take a tenth of the time.
gc.disable()


def pytest_collection_finish() -> None:
    """Leave what was imported out of the search for garbage, which begins here."""
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """Three test processes for two cores: a third of the time one waits for a process that it has started."""
    return 3 * n_cores() // 2


# How long an example takes is the machine's matter.
settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")

# What fsync is for, the loss of power, no test can try; the end of a process loses no written byte.
os.fsync = lambda fd: None  # noqa: ARG005 - its name

KIT = Path(__file__).parent / "kit" / "plugins"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test out of the user's cache, its results out of the checkout, its units in this process."""
    monkeypatch.setenv("MARSBENCH_WORKERS", "0")
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    discover.cache_clear()
    return tmp_path / "home"


@pytest.fixture(scope="session")
def kit() -> Path:
    """A plugin folder of tiny fakes.

    tones; crossings, slow_crossings, blocks, planted; nearest_mean, slow_mean, troubled, unruly, knobs,
    tiny_net.
    """
    return KIT


_command = cache(get_command)
"""Made once: the subcommands with all their options take longer than most of what tests ask of them."""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run `bench` with some words in this process; the result has exit_code, stdout, stderr."""
    from marsbench.cli.main import app
    from marsbench.report.terminal import console

    monkeypatch.setattr("typer.testing._get_command", _command)
    monkeypatch.setenv("COLUMNS", "200")
    for one in (console.out, console.err):  # made with the width of whoever imported them first
        monkeypatch.setattr(one, "width", 200)

    def run(*words: str | Path) -> Any:
        return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)

    return run
