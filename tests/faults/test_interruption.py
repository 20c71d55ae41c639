"""Ctrl-C, as a terminal sends it: to the whole foreground group."""

import time
from collections.abc import Callable
from typing import Any

import pytest

Places = Callable[..., Any]

FEW = "run --features slow_crossings,blocks --model slow_mean --data tones --set tones.n_takes=1 --workers 2"
N_CLIPS, N_UNITS = 15, 10
ONCE = "Ctrl-C: running tasks finish and are saved; press it again to stop at once"
END = "bench: Interrupted. Progress saved; rerun the same command to resume."

both_ways = pytest.mark.parametrize(("start", "workers"), [("start_for_real", 2), ("start", 0)])


@both_ways
def test_ctrl_c_finishes_and_keeps_what_is_under_way(
    place: Places, undisturbed: Places, start: str, workers: int
) -> None:
    there, command = place(), f"{FEW} --set slow_mean.seconds=0.1 --workers {workers}"
    bench = getattr(there, start)(command)
    there.await_notes(N_CLIPS + 3)
    bench.press_ctrl_c()
    assert bench.code == 130, bench.text
    assert (bench.text.count(ONCE), bench.text.count(END)) == (1, 1)
    assert "Traceback" not in bench.text
    assert 3 <= len(there.units()) == there.n_fits < N_UNITS
    there.assert_tidy()
    assert there.run(command).code == 0
    assert there.n_fits == N_UNITS
    assert there.predictions() == undisturbed(FEW).predictions()


@both_ways
def test_ctrl_c_twice_stops_at_once(place: Places, start: str, workers: int) -> None:
    there = place()
    command = f"run --features crossings --model unruly --data tones --workers {workers}"
    command += " --set unruly.how=hangs --set unruly.marker=hung"  # the fit that makes this file
    bench = getattr(there, start)(command)
    there.await_file("hung")
    bench.press_ctrl_c()
    bench.await_text(ONCE)
    units = there.units()
    bench.press_ctrl_c()
    assert bench.code == 130, bench.text
    assert bench.text.count(END) == 1
    assert "Traceback" not in bench.text
    there.assert_tidy()
    assert there.run(command).code == 0
    assert units.items() <= there.units().items()
    assert len(there.units()) == 5


MANY = "run --features slow_crossings --model slow_mean --data tones --set tones.n_takes=4"
MANY += " --set slow_crossings.seconds=0.02"
N_MANY = 60


@pytest.mark.parametrize("workers", [2, 0])
def test_ctrl_c_during_extraction_keeps_what_is_extracted(place: Places, workers: int) -> None:
    there, command = place(), f"{MANY} --workers {workers}"
    bench = there.start(command)
    there.await_notes(3)
    bench.press_ctrl_c()
    assert bench.code == 130, bench.text
    assert (bench.text.count(ONCE), bench.text.count(END)) == (1, 1)
    assert 0 < there.n_extracted < N_MANY
    assert there.has_features("slow_crossings")
    assert there.run(command).code == 0
    assert there.n_extracted == N_MANY


@pytest.mark.parametrize("workers", [2, 0])
def test_ctrl_c_twice_during_extraction_stops_at_once(place: Places, workers: int) -> None:
    there, command = place(), f"{MANY} --workers {workers}"
    bench = there.start(command)
    there.await_notes(3)
    bench.press_ctrl_c()
    bench.await_text(ONCE)
    bench.press_ctrl_c()
    assert bench.code == 130, bench.text
    assert "Traceback" not in bench.text
    assert there.n_extracted < N_MANY
    there.assert_tidy()
    assert there.run(command).code == 0


@pytest.mark.parametrize(("slow", "n_notes"), [("slow_crossings", 1), ("slow_mean", N_CLIPS + 1)])
def test_ctrl_c_while_waiting_for_another_run_stops_the_waiting_one_alone(
    place: Places, slow: str, n_notes: int
) -> None:
    there = place()
    command = "run --features slow_crossings --model slow_mean --data tones --set tones.n_takes=1 --workers 1"
    first = there.start(f"{command} --set {slow}.seconds=600")
    there.await_notes(n_notes)
    second = there.start(first.command)
    second.await_text("waiting for it")
    second.press_ctrl_c()
    assert second.code == 130
    assert (second.text.count(ONCE), second.text.count(END)) == (1, 1)
    assert first.poll() is None
    assert there.notes.total() == n_notes
    first.kill()


@pytest.mark.slow
def test_a_run_goes_on_after_the_machine_has_slept(place: Places) -> None:
    there = place()
    bench = there.start_for_real(f"{FEW} --set slow_mean.seconds=0.2")
    there.await_notes(N_CLIPS + 2)
    with bench.asleep():
        time.sleep(6)
    assert bench.code == 0
    assert there.n_fits == N_UNITS
