"""Several `bench run` at once, in one results folder and with one store of features."""

from collections.abc import Callable
from typing import Any

import pytest

Places = Callable[..., Any]

FEW = "run --features slow_crossings,blocks --model slow_mean --data tones --set tones.n_takes=1 --workers 2"
SLOWER = f"{FEW} --workers 1 --set slow_crossings.seconds=0.03 --set slow_mean.seconds=0.3"
"""Long enough to be stopped on the way."""
N_CLIPS, N_UNITS = 15, 10


@pytest.mark.parametrize(
    ("n_notes", "line"),
    [
        (1, "slow_crossings: another process extracts it; waiting for it"),
        (N_CLIPS + 2, "slow_crossings + slow_mean: another process is making it; waiting for it"),
    ],
)
def test_a_second_command_waits_for_what_the_first_is_at_and_fits_nothing_again(
    place: Places, undisturbed: Places, n_notes: int, line: str
) -> None:
    there = place()
    first = there.start(SLOWER)
    there.await_notes(n_notes)
    with first.asleep():
        second = there.start(SLOWER)
        second.await_text(line)
    assert (first.code, second.code) == (0, 0)
    assert (there.n_fits, there.n_extracted) == (N_UNITS, N_CLIPS)
    assert there.predictions() == undisturbed(FEW).predictions()
    there.assert_tidy()


def test_the_same_command_twice_at_once_fits_each_unit_once(place: Places, undisturbed: Places) -> None:
    there = place()
    first, second = there.start(SLOWER), there.start(SLOWER)
    assert (first.code, second.code) == (0, 0)
    assert "waiting for it" in first.text + second.text
    assert (there.n_fits, there.n_extracted) == (N_UNITS, N_CLIPS)
    assert there.predictions() == undisturbed(FEW).predictions()
    there.assert_tidy()


def test_two_experiments_in_one_folder_share_features_and_nothing_else(
    place: Places, undisturbed: Places
) -> None:
    there, other = place(), f"{FEW} --seed 1"
    both = [there.start(f"{command} --workers 1") for command in (FEW, other)]
    assert [bench.code for bench in both] == [0, 0]
    assert (there.n_fits, there.n_extracted) == (2 * N_UNITS, N_CLIPS)
    assert there.predictions() == undisturbed(FEW).predictions() | undisturbed(other).predictions()
    there.assert_tidy()


@pytest.mark.parametrize("n_notes", [1, pytest.param(N_CLIPS + 2, marks=pytest.mark.slow)])
def test_whoever_waits_goes_on_when_the_other_is_killed(
    place: Places, undisturbed: Places, n_notes: int
) -> None:
    there = place()
    first = there.start(SLOWER)
    there.await_notes(n_notes)
    with first.asleep():
        second = there.start(SLOWER)
        second.await_text("waiting for it")
        first.kill()
    units = there.units()
    assert second.code == 0, second.text
    assert units.items() <= there.units().items()
    assert there.predictions() == undisturbed(FEW).predictions()
    there.assert_tidy()
