"""A program that runs a LiteRT file within bounds of time and memory, for `litert`.

The file may hold loops that never end and sizes that it computes, and LiteRT cannot be stopped; a process
can. Arrays come by stdin: the file's bytes, then clips. Each is answered by one on
stdout: the shape of the input, then outputs. An answer that is text is an error.
"""

import io
import os
import signal
import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from marsbench.environment import import_extra
from marsbench.errors import first_line

SIZE = 8
"""Bytes of an array's length, in front of it."""

_NO_REASON = "LiteRT gives no reason; it may need more memory than it is allowed"


def send(stream: IO[bytes], array: NDArray[Any]) -> None:
    """Write an array in NumPy's format, its length in front; raises OSError: nobody reads."""
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    stream.write(len(data.getbuffer()).to_bytes(SIZE, "little") + data.getbuffer())
    stream.flush()


def receive(stream: IO[bytes]) -> NDArray[Any] | None:
    """The next array, None at the end."""
    head = stream.read(SIZE)
    data = stream.read(int.from_bytes(head, "little"))
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False)) if len(head) == SIZE and data else None


class _File:
    """A LiteRT file, allocated for one thread."""

    def __init__(self, runtime: Any, data: bytes) -> None:
        self._interpreter = runtime.Interpreter(model_content=data, num_threads=1)
        self._interpreter.allocate_tensors()
        (self.given,), (self._asked,) = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )

    def run(self, clip: NDArray[Any]) -> NDArray[Any]:
        self._interpreter.set_tensor(self.given["index"], clip[None])
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._asked["index"])[0])


def main(seconds: float, n_bytes: int) -> None:
    """Answer until stdin ends; an answer that takes longer, or more memory, ends this process."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    runtime = import_extra("ai_edge_litert.interpreter", "litert")
    _limit_memory(n_bytes)
    file: _File | None = None
    while (asked := receive(sys.stdin.buffer)) is not None:
        _set_alarm(seconds)
        try:
            if file is None:
                file = _File(runtime, asked.tobytes())
                answer = np.array(file.given["shape"])
            else:
                answer = file.run(asked)
        except Exception as error:  # noqa: BLE001 - whatever LiteRT raises for a file
            answer = np.array(first_line(error) if str(error) else _NO_REASON)
        _set_alarm(0)
        send(answers, answer)


def _set_alarm(seconds: float) -> None:
    """End this process after so many seconds, even in native code; 0 for never. Not on Windows."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(more: int) -> None:
    """Let this process take so many bytes more than now. Not on Windows."""
    try:
        import resource
    except ImportError:
        return
    import psutil

    memory = psutil.Process().memory_info()
    most = getattr(memory, "data", memory.vms) + more
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
