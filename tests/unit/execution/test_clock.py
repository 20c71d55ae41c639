import time

import pytest

from marsbench.execution.limits import Clock


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def clock(now: list[float]) -> Clock:
    """A minute."""
    return Clock(60.0, now=lambda: now[0])


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


def test_the_time_that_is_left_is_shared_out(clock: Clock, now: list[float]) -> None:
    now[0] += 20
    assert clock.part(2, 0.0).left == 20.0
    assert clock.part(1, 0.0).left == 40.0
    assert clock.part(0, 0.0).left == 40.0


def test_what_an_earlier_command_took_of_a_part_counts(clock: Clock, now: list[float]) -> None:
    part = clock.part(1, 25.0)
    assert part.left == 35.0
    now[0] += 5
    assert part.left == 30.0
    assert part.elapsed == 30.0


def test_a_deadline_is_the_moment_at_which_what_is_reserved_is_left(clock: Clock) -> None:
    assert clock.deadline(10.0) == pytest.approx(time.time() + 50.0, abs=1.0)


def test_without_a_budget_time_is_never_up(now: list[float]) -> None:
    endless = Clock(now=lambda: now[0])
    for one in (endless, endless.part(3, 5.0)):
        assert one.reaches(1, 1e9)
        assert one.deadline(1.0) is None
