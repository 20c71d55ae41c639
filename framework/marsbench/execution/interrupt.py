"""Ctrl-C once: finish what runs. Ctrl-C twice: stop at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """Ctrl-C was pressed once, and nothing new should begin."""


@contextmanager
def graceful_interruption(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed; the second press raises KeyboardInterrupt.

    Outside the main thread, where signals do not arrive, it never was.
    """
    pressed = False

    def press(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        say("Ctrl-C: what is under way is finished and kept; press it again to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
