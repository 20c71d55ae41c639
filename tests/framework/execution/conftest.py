"""Work that reaches worker processes, and nothing left of them."""

import importlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

KIT = Path(__file__).parents[2] / "kit"


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left() -> Iterator[None]:
    """Every process that tests started must have ended with them."""
    before = set(psutil.Process().children(recursive=True))
    yield
    wait_until_gone(set(psutil.Process().children(recursive=True)) - before)


@pytest.fixture(scope="module")
def works() -> Iterator[Any]:
    """The module kit/works.py, importable here and in every process that is started from here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(KIT)
        patch.setenv("PYTHONPATH", str(KIT), prepend=os.pathsep)
        yield importlib.import_module("works")


@pytest.fixture(scope="session")
def gone() -> Any:
    """Wait until processes have ended."""
    return wait_until_gone


def wait_until_gone(processes: Iterable[psutil.Process]) -> None:
    """Fail if one lives on; a dead one that nobody has asked after counts as gone."""
    end = time.monotonic() + 10
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            while process.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < end, process
                time.sleep(0.01)
