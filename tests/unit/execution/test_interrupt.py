import signal
import threading

import pytest

from marsbench.execution.scheduler import graceful_interruption


@pytest.fixture
def said() -> list[str]:
    """Lines that were said."""
    return []


def test_nothing_is_interrupted_by_itself(said: list[str]) -> None:
    with graceful_interruption(said.append) as stop:
        assert not stop()
    assert said == []


def test_the_first_press_asks_to_stop_and_says_what_a_second_does(said: list[str]) -> None:
    with graceful_interruption(said.append) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop()
    assert said == ["Ctrl-C: running tasks finish and are saved; press it again to stop at once"]


def test_the_second_press_interrupts_at_once(said: list[str]) -> None:
    with graceful_interruption(said.append) as stop:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop()


@pytest.mark.parametrize("presses", [0, 1, 2])
def test_afterwards_ctrl_c_does_what_it_did_before(said: list[str], presses: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), graceful_interruption(said.append):  # noqa: PT012 - in its context
        for _ in range(presses):
            signal.raise_signal(signal.SIGINT)
        raise KeyboardInterrupt
    assert signal.getsignal(signal.SIGINT) is before


def test_a_press_does_not_outlive_its_context(said: list[str]) -> None:
    with graceful_interruption(said.append):
        signal.raise_signal(signal.SIGINT)
    with graceful_interruption(said.append) as stop:
        assert not stop()


def test_outside_the_main_thread_ctrl_c_is_left_to_others(said: list[str]) -> None:
    found: list[object] = []

    def enter() -> None:
        with graceful_interruption(said.append) as stop:
            found.extend([stop(), signal.getsignal(signal.SIGINT)])

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [False, before]


def test_what_a_second_press_turns_into_is_an_interruption_too(said: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt) as raised, graceful_interruption(said.append):  # noqa: PT012 - in its context
        signal.raise_signal(signal.SIGINT)
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise RuntimeError("cannot release un-acquired lock")
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_an_error_after_one_press_stays_what_it_is(said: list[str]) -> None:
    with pytest.raises(RuntimeError, match="an error"), graceful_interruption(said.append):  # noqa: PT012 - as above
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("an error")
