"""A worker process: reads pickled work from standard input, answers on standard output until input ends.

Whatever a plugin prints goes to standard error with everything else, which the parent keeps as the log. The
pickles come from the process that started this one and from nowhere else.
"""

import faulthandler
import os
import pickle
import queue
import signal
import sys
import threading
from functools import partial
from typing import IO, Any

from psutil import Process

from marsbench.errors import ConfigError, StorageError
from marsbench.execution.base import attempt, failure
from marsbench.plugin.model import OnEpoch

_MOST_KEPT = 1.5e9
"""Bytes of memory above which a process gets no further task; TensorFlow and a network take half of it."""
_IDLE_SECONDS = 600.0
"""Seconds without a task after which a process ends itself."""


def main() -> None:
    """Serve until the parent closes the pipe, dies, or has nothing to do for long."""
    answers = _own_stdout()
    faulthandler.enable()  # a crash in native code leaves its Python lines in the log
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)  # so does a task that is stopped at its time limit
    requests: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        try:
            payload = requests.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            os._exit(0)
        _serve(payload, answers)


def _own_stdout() -> IO[bytes]:
    """The pipe to the parent; file descriptor 1 becomes the log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return answers


def _read(pipe: IO[bytes], requests: "queue.Queue[bytes]") -> None:
    """Hand on requests; the pipe's end means that nobody waits for an answer, so work stops at once."""
    while True:
        try:
            requests.put(pickle.load(pipe))  # noqa: S301 - from the parent process alone
        except (EOFError, pickle.UnpicklingError):  # the end, or a request cut off by the parent's death
            _end_all()
        except OSError:  # something in here closed it
            os._exit(1)


def _end_all() -> None:
    """End this process and those that it started, which are in its group unless they left it."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _serve(payload: bytes, answers: IO[bytes]) -> None:
    before = set(threading.enumerate())
    own = os.getpid()

    def answer(kind: str, value: Any) -> None:
        if os.getpid() != own:  # a copy that the work made of its process came back from it too
            os._exit(1)
        answers.write(pickle.dumps((kind, value)))  # whole or not at all
        answers.flush()

    try:
        value = attempt(
            partial(_pickled, payload), lambda epoch, most, _metrics: answer("epoch", (epoch, most))
        )
    except (ConfigError, StorageError) as error:
        answer("refused", type(error)(str(error)))  # without its cause, which may not be picklable
        return
    except BaseException as error:  # noqa: BLE001 - Ctrl-C does not come here: it is the plugin's own
        value = failure(error)
    sys.stderr.flush()
    answer("done", (value, _is_fit_for_more(before)))


def _is_fit_for_more(threads_before: set[threading.Thread]) -> bool:
    """Whether this process is as good as a new one for the next task.

    A thread that is left behind would compute beside it. And TensorFlow never gives back all that an
    architecture took: the memory of one task would count against the next.
    """
    return set(threading.enumerate()) <= threads_before and Process().memory_info().rss < _MOST_KEPT


def _pickled(payload: bytes, on_epoch: OnEpoch) -> bytes:
    """Value of the work; what cannot be sent, either way, is an exception like any other."""
    return pickle.dumps(pickle.loads(payload)(on_epoch))  # noqa: S301 - from the parent process alone


if __name__ == "__main__":
    main()
