"""SIGKILL at random moments, and at every file: nothing finished is lost, nothing is done twice."""

import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest

from marsbench.hashing import derived_seed

Places = Callable[..., Any]

FEW = "run --features slow_crossings,blocks --model slow_mean --data tones --set tones.n_takes=1 --workers 2"
N_CLIPS, N_UNITS = 15, 10
"""Clips that one of the extractors notes, and units, each of which is noted."""


@pytest.mark.parametrize(
    ("seed", "n_kills"),
    [
        (0, 3),
        *(pytest.param(seed, 3, marks=pytest.mark.slow) for seed in range(2, 8, 2)),
        *(pytest.param(seed, 1, marks=pytest.mark.slow) for seed in range(8, 38, 2)),
    ],
)
def test_drivers_killed_at_any_moment_lose_nothing_finished(
    place: Places, undisturbed: Places, seed: int, n_kills: int
) -> None:
    places = [place(f"seed {seed}"), place(f"seed {seed + 1}")]
    chances = [random.Random(seed), random.Random(seed + 1)]  # noqa: S311 - a test is no secret
    with ThreadPoolExecutor() as pool:
        list(pool.map(kill_and_finish, places, chances, [n_kills] * 2))
    for there in places:
        assert there.predictions() == undisturbed(FEW).predictions()
        there.assert_tidy()


def kill_and_finish(there: Any, chance: random.Random, n_kills: int) -> None:
    """Run and kill that often; the same command again must compute what is missing, and only that."""
    finished = [kill(there, moment) for moment in sorted(a_moment(chance) for _ in range(n_kills))]
    n_fits, n_missing = there.n_fits, N_UNITS - len(there.units())
    last = there.run(FEW)
    assert last.code == 0, last.text
    assert there.n_fits == n_fits + n_missing
    for units, notes in finished:
        assert units.items() <= there.units().items()
        assert {unit: there.notes[note_of(unit)] for unit in units} == notes


def a_moment(chance: random.Random) -> tuple[int, float]:
    """After so many different notes in the ledger, when two units at least are to do, and some time more."""
    stage = chance.choice([range(1), range(1, N_CLIPS), *[range(N_CLIPS, N_CLIPS + N_UNITS - 2)] * 2])
    return chance.choice(stage), chance.random()


def kill(there: Any, moment: tuple[int, float]) -> tuple[dict[str, Any], dict[str, int]]:
    """Kill the driver at that moment; gives the units that are finished and how often each was begun."""
    n_notes, delay = moment
    delay *= 0.4 if n_notes <= len(there.notes) else 0.05
    bench = there.start(FEW)
    there.await_notes(n_notes)
    sleep(delay)
    bench.kill()
    units = there.units()
    sys.stdout.write(
        f"{there.folder.name}: killed {delay:.3f} s after note {n_notes} of {N_CLIPS + N_UNITS}: "
        f"{there.n_extracted} clips and {there.n_fits} fits begun, {len(units)} units kept\n"
    )
    return units, {unit: there.notes[note_of(unit)] for unit in units}


def note_of(unit: str) -> str:
    """What the ledger says of the unit in this file."""
    width = 1 if "/slow_crossings-" in unit else 2
    fold = int(unit.removesuffix(".json").rpartition("-")[2])
    return f"fit {width} {derived_seed(0, fold)}"


MORE = f"{FEW} --features crossings --set tones.n_takes=2"
"""Six extractions and fifteen units."""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_run_whose_workers_are_killed_at_any_moment_completes(
    place: Places, undisturbed: Places, seed: int
) -> None:
    there = place()
    log = there.folder / "kills"
    bench = there.run(f"{MORE} --set slow_mean.seconds=0.1", sabotage=("kill_workers", 10, seed, str(log)))
    kills = log.read_text().splitlines()
    sys.stdout.write(f"killed: {', '.join(kills)}\n")
    assert bench.code == 0, bench.text
    assert len(kills) == 10
    assert there.predictions() == undisturbed(MORE).predictions()
    assert 15 <= there.n_fits <= 15 + sum("unit" in kill for kill in kills)
    there.assert_tidy()


ONE_UNIT = "run --features crossings --model slow_mean --data tones --protocol holdout80 --workers 0"
N_FILES = 9
"""Facts of the audio, plan, a part of the features, its index, both again whole, unit, predictions, run."""


def test_a_driver_killed_as_it_writes_any_file_leaves_nothing_half_written(
    place: Places, undisturbed: Places
) -> None:
    def kill_as_it_writes(number: int) -> None:
        there = place(f"file {number}")
        assert there.run(ONE_UNIT, sabotage=("die_at_rename", number)).code == -9
        units = there.units()
        assert there.run(ONE_UNIT).code == 0, there.begun[-1].text
        assert units.items() <= there.units().items()
        assert there.predictions() == undisturbed(ONE_UNIT).predictions()
        there.assert_tidy()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(kill_as_it_writes, range(1, N_FILES + 1)))


def test_a_driver_killed_as_it_asks_a_worker_leaves_none_behind(place: Places) -> None:
    there = place()
    assert there.run(f"{ONE_UNIT} --workers 1", sabotage=("die_in_request",)).code == -9
    there.await_quiet()


def test_a_driver_that_is_killed_takes_along_what_plugins_started(place: Places) -> None:
    there = place()
    command = (
        "run --features crossings --model unruly,slow_mean --data tones --protocol holdout80 --workers 1"
    )
    bench = there.start(f"{command} --set unruly.how=processes --set slow_mean.seconds=60")
    there.await_notes(1)
    assert len(there.workers()) == 2
    bench.kill()
    there.await_quiet()


def test_the_command_killed_in_a_shell_goes_on_when_it_is_typed_again(
    place: Places, undisturbed: Places
) -> None:
    there = place()
    bench = there.start_for_real(FEW)
    there.await_notes(N_CLIPS + 4)
    bench.kill()
    units, n_fits = there.units(), there.n_fits
    again = there.start_for_real(FEW)
    assert again.code == 0, again.text
    assert units.items() <= there.units().items()
    assert there.n_fits == n_fits + N_UNITS - len(units)
    assert there.predictions() == undisturbed(FEW).predictions()
    there.assert_tidy()
