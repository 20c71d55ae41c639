"""How much of a search's time is gone."""

import pytest

from marsbench.automl.state import Clock


def test_what_earlier_commands_spent_counts() -> None:
    times = iter([100.0, 130.0])
    clock = Clock(100, spent=20, now=lambda: next(times))
    assert clock.elapsed == 50


@pytest.mark.parametrize(("needed", "reaches"), [(10, True), (20, True), (21, False)])
def test_it_tells_whether_something_would_end_within_a_share_of_the_budget(
    needed: float, reaches: bool
) -> None:
    clock = Clock(100, spent=30, now=lambda: 0.0)
    assert clock.reaches(0.5, needed) == reaches


def test_once_the_time_is_up_nothing_is_left() -> None:
    assert Clock(10, spent=12, now=lambda: 0.0).left == -2
