import pytest

from marsbench.runner.time_budget import TimeBudget


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def budget(now: list[float]) -> TimeBudget:
    return TimeBudget(60.0, clock=lambda: now[0])


def test_the_time_that_is_left_is_shared_out_among_the_runs_to_come(
    budget: TimeBudget, now: list[float]
) -> None:
    now[0] += 20
    assert budget.share(2, 0.0) == 140.0
    assert budget.share(1, 0.0) == 160.0


def test_what_an_earlier_command_took_counts(budget: TimeBudget) -> None:
    assert budget.share(1, 25.0) == 135.0


def test_time_is_up_when_something_would_end_too_late(budget: TimeBudget, now: list[float]) -> None:
    until = budget.share(1, 0.0)
    assert not budget.is_up(until, 59.0)
    assert budget.is_up(until, 61.0)
    now[0] += 30
    assert budget.is_up(until, 31.0)


def test_without_a_budget_time_is_never_up(now: list[float]) -> None:
    endless = TimeBudget(None, clock=lambda: now[0])
    assert endless.share(3, 5.0) is None
    assert not endless.is_up(None, 1e9)
    assert endless.deadline(None, 1.0) is None
