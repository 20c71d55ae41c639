"""A model whose matrices do not fit into memory is left out before anything is computed."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from marsbench.config import Experiment, Versions
from marsbench.errors import ConfigError
from marsbench.execution.executor import memory_a_fit
from marsbench.planning.pipelines import make_pipeline, within_memory
from marsbench.plugin.registry import discover
from marsbench.progress import Silent

WITH_ROOM, WITH_SPEED = (Versions(kinds=(kind,)) for kind in ("room", "speed"))
"""One version of each clip, and two."""
PIPELINES = {name: make_pipeline(discover(()), "functionals", name, {}) for name in ("svm", "kernel_ridge")}


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize(
    ("n_clips", "versions", "most", "kept"),
    [
        (20_000, None, 8e9, ["svm"]),
        (20_000, None, 16e9, ["svm", "kernel_ridge"]),
        (20_000, None, inf, ["svm", "kernel_ridge"]),
        (10_000, None, 8e9, ["svm", "kernel_ridge"]),
        (10_000, WITH_ROOM, 8e9, ["svm"]),
    ],
)
def test_clips_and_memory_say_whether_a_model_is_left_out(
    n_clips: int, versions: Versions | None, most: float, kept: list[str]
) -> None:
    told = Told()
    asked = [replace(pipeline, versions=versions) for pipeline in PIPELINES.values()]
    assert [one.model.name for one in within_memory(asked, n_clips, most, told)] == kept
    assert len(told.lines) == 2 - len(kept)
    assert all("20,000 training clips its matrices need 13 GB of memory" in line for line in told.lines)
    assert all("a fit has 8 GB" in line and "svm takes any number" in line for line in told.lines)


def test_each_version_of_a_clip_counts_as_a_training_clip() -> None:
    asked, told = replace(PIPELINES["kernel_ridge"], versions=WITH_SPEED), Told()
    assert len(within_memory([asked, PIPELINES["svm"]], 6_000, 8e9, told)) == 1
    assert "for 18,000 training clips" in told.lines[0]


def test_where_none_is_left_the_line_is_the_error() -> None:
    with pytest.raises(ConfigError, match="kernel_ridge is left out: for 50,000 training clips"):
        within_memory([PIPELINES["kernel_ridge"]], 50_000, 8e9, Silent())


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        ({"unit_memory": "3GB"}, 3e9),
        ({"cluster": "tcp://there:8786"}, inf),
        ({"cluster": "tcp://there:8786", "unit_memory": "3GB"}, 3e9),
    ],
)
def test_what_a_fit_may_take_is_the_limit_that_was_set(asked: dict[str, Any], most: float) -> None:
    experiment = Experiment.parse({"features": "functionals", "model": "svm"}, "", asked)
    assert memory_a_fit(experiment) == most


def test_without_a_limit_workers_share_the_memory_of_this_machine() -> None:
    one, two = (
        memory_a_fit(Experiment.parse({"features": "functionals", "model": "svm"}, "", {"workers": number}))
        for number in (1, 2)
    )
    assert 0 < two <= one / 2 + 1
