"""A finished run of fakes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ran(bench: Callable[..., Any], kit: Path) -> Any:
    """A finished `bench run` of two pipelines in ./results."""
    grid = ("--features", "crossings,blocks", "--model", "nearest_mean", "--data", "tones")
    result = bench("run", *grid, "--plugins", kit)
    assert result.exit_code == 0
    return result
