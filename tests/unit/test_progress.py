"""How long phases of the work took, and the bars on a terminal."""

import io
import re
import threading

import pytest
from rich.console import Console

from marsbench import progress
from marsbench.progress import Phases
from marsbench.report.terminal import console


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_a_moment_counts_to_the_phase_that_was_begun_last(clock: Clock) -> None:
    phases = Phases()
    clock.now += 1
    with phases.of("folds"):
        clock.now += 2
        with phases.of("features"):
            clock.now += 4
        clock.now += 8
    clock.now += 16
    assert phases.line(31) == "Seconds: start 17.0, folds 10.0, features 4.0; in all 31.0"


def test_phases_of_several_threads_add_up_to_the_whole_time(clock: Clock) -> None:
    phases = Phases()
    begun, over = threading.Event(), threading.Event()

    def fit() -> None:
        with phases.of("folds"):
            begun.set()
            over.wait()

    thread = threading.Thread(target=fit)
    with phases.of("features"):
        clock.now += 1
        thread.start()
        begun.wait()
        clock.now += 2
    clock.now += 4
    over.set()
    thread.join()
    assert phases.line(0) == "Seconds: start 0.0, features 1.0, folds 6.0; in all 7.0"


def test_what_was_before_the_first_phase_is_the_start(clock: Clock) -> None:
    phases = Phases()
    with phases.of("folds"):
        clock.now += 2
    assert re.findall(r"[\d.]+", phases.line(5.5)) == ["3.5", "2.0", "5.5"]


def test_a_phase_that_fails_ends(clock: Clock) -> None:
    phases = Phases()

    def fail() -> None:
        with phases.of("folds"):
            clock.now += 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    clock.now += 1
    assert phases.line(3) == "Seconds: start 1.0, folds 2.0; in all 3.0"


@pytest.mark.parametrize(
    ("steps", "seconds", "shown"),
    [
        (0, 65, "0/5 1:05 elapsed"),
        (2, 100, "2/5 1:40 elapsed, 2:30 left"),
        (1, 3600, "1/5 1:00:00 elapsed, 4:00:00 left"),
        (5, 61, "5/5 1:01 elapsed"),
    ],
)
@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_on_a_terminal_says_what_its_times_are(
    steps: int, seconds: float, shown: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(console, "err", drawn)
    made = console.TerminalProgress()
    with made.track("pipeline 1 of 2: mfcc [x] + svm, folds", 5) as advance:
        advance(steps)
        made._bars.tasks[0].start_time = made._bars.get_time() - seconds
        with drawn.capture() as captured:
            drawn.print(made._bars.get_renderable())
    words = re.sub(r"[━╸╺]", "", captured.get())
    assert shown in " ".join(words.split())
    assert "pipeline 1 of 2: mfcc [x]" in " ".join(words.split())
