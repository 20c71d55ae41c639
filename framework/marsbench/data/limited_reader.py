"""The bytes of a file for the callbacks of a decoder, with a time limit."""

import io
from time import thread_time

from marsbench.errors import AudioError

_TIMEOUT = 3.0
"""Seconds of CPU time for opening a file, and for each block or frame; intact files need milliseconds."""


class LimitedReader:
    """A file that ends once the time limit has passed, which ends a decoder's loops.

    A callback cannot raise: Python would only print the exception.
    """

    def __init__(self, file: io.BytesIO | io.FileIO) -> None:
        self.file = file
        self._has_ended = False
        self.expect_progress()

    def expect_progress(self) -> None:
        """Restart the time limit."""
        self._deadline = thread_time() + _TIMEOUT

    def check_progress(self) -> None:
        """Raise AudioError if the data have ended by the time limit."""
        if self._has_ended:
            raise AudioError(f"cannot be decoded: no samples within {_TIMEOUT:.0f} s")

    def is_over(self) -> bool:
        """Whether the time limit has passed, now or before."""
        self._has_ended |= thread_time() > self._deadline
        return self._has_ended

    def tell(self) -> int:
        """Position of the next byte."""
        return self.file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """New position; unchanged if a damaged header leads to a position before the start."""
        try:
            return self.file.seek(offset, whence)
        except (ValueError, OverflowError, OSError):
            return self.tell()
