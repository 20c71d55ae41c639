"""A worker process: reads pickled work from standard input, answers on standard output until input ends.

It does no work itself: a copy (fork) of it does, which ends with its task. So each task begins as in a new
process, whatever earlier ones did to theirs, without the second that a new process takes. A copy is kept only
for tasks of one name, which leave nothing behind that the next would notice. Where copies cannot be made, the
process does one task, or those of one name, itself.

Whatever a plugin prints goes to standard error with everything else, which the parent keeps as the log. The
pickles come from the process that started this one and from nowhere else.
"""

import ctypes
import faulthandler
import gc
import importlib
import os
import pickle
import queue
import select
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import IO, Any, NamedTuple, NoReturn

from psutil import Process

from marsbench.environment import environment
from marsbench.errors import ConfigError, PluginError, StorageError
from marsbench.execution.base import Called, attempt, failure
from marsbench.plugin.model import OnEpoch

_MOST_KEPT = 1.5e9
"""Bytes of memory above which a process gets no further task; TensorFlow and a network take half of it."""
_IDLE_SECONDS = 600.0
"""Seconds without a task after which a process ends itself."""
_ANSWERED = 86
"""Exit status of a copy that has answered."""
_LIBRARIES = {"librosa", "marsbench", "marsbench_plugins", "numpy", "scipy", "skops", "sklearn", "soundfile"}
"""Packages that a copy is given imported: importing them starts no thread and changes nothing elsewhere."""
_CHANGES_OTHERS = ".experimental."
"""Part of the names of scikit-learn's modules that do change others when they are imported."""
_PR_SET_PDEATHSIG = 1


class Request(NamedTuple):
    """Work as it comes in."""

    payload: bytes
    """The pickled work; empty if the process shall only import what work to come will need."""
    kept: str
    """`Task.kept`."""
    plugin: Called | None
    """`Task.plugin`."""
    libraries: list[str]
    """Modules of `_LIBRARIES` that earlier tasks imported."""


class _Copy(NamedTuple):
    """A fork of this process that does a task, or waits for another one."""

    pid: int
    ended: int
    """File descriptor that becomes readable when it ends."""
    kept: str
    requests: IO[bytes]


def can_fork() -> bool:
    """Whether tasks are done in copies: on Linux, where libraries survive it and a copy can be waited for."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def main() -> None:
    """Serve until the parent closes the pipe, dies, or has nothing to do for long."""
    answers = _own_stdout()
    faulthandler.enable()  # a crash in native code leaves its Python lines in the log
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)  # so does a task that is stopped at its time limit
    if can_fork():
        _serve_by_copies(answers)
    requests: queue.Queue[Request] = queue.Queue()
    threading.Thread(target=_pass_on, args=(sys.stdin.buffer, requests), daemon=True).start()
    _serve_all(_queued(requests), answers)


def _own_stdout() -> IO[bytes]:
    """The pipe to the parent; file descriptor 1 becomes the log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return answers


def _pass_on(pipe: IO[bytes], requests: "queue.Queue[Request]") -> None:
    while True:
        requests.put(_read(pipe, None))


def _queued(requests: "queue.Queue[Request]") -> Iterator[Request]:
    while True:
        try:
            yield requests.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            os._exit(0)


def _read(pipe: IO[bytes], copy: _Copy | None) -> Request:
    """The next request; the pipe's end means that nobody waits for an answer, so work stops at once."""
    try:
        return Request(*pickle.load(pipe))  # noqa: S301 - from the parent process alone
    except (EOFError, pickle.UnpicklingError):  # the end, or a request cut off by the parent's death
        _end_all(copy)
    except OSError:  # something in here closed it
        os._exit(1)


def _end_all(copy: _Copy | None) -> NoReturn:
    """End this process and those that it started, its group and that of its copy, and its temporary files."""
    if copy is not None:
        _end_group(copy.pid)
    shutil.rmtree(sys.argv[1], ignore_errors=True)  # the parent would have done it
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _serve_by_copies(answers: IO[bytes]) -> NoReturn:
    environment()  # once for all copies, as it asks git
    copy: _Copy | None = None
    while True:
        files = [0] if copy is None else [0, copy.ended]
        ready, _, _ = select.select(files, [], [], _IDLE_SECONDS if copy is None else None)
        if copy is not None and copy.ended in ready:
            _bury(copy)
            copy = None
            _answer(answers, "ended")
        elif ready:
            copy = _hand_over(_read(sys.stdin.buffer, copy), copy, answers)
        else:
            os._exit(0)


def _hand_over(request: Request, copy: _Copy | None, answers: IO[bytes]) -> _Copy | None:
    """The copy that does the request: the one that is there if it is kept for it, else a new one."""
    if not request.payload:
        _import(request)
        _answer(answers, "prepared")
        return copy
    if copy is not None and copy.kept == request.kept:
        pickle.dump(tuple(request), copy.requests)
        copy.requests.flush()
        return copy
    if copy is not None:
        os.kill(copy.pid, signal.SIGKILL)
        _end(copy)
    _import(request)
    gc.freeze()  # collecting in a copy would touch, and so copy, all that this process has
    return _new_copy(request, answers)


def _import(request: Request) -> None:
    """Import what the copy will need, but nothing that a plugin of another package would run."""
    libraries = list(request.libraries)
    with suppress(PluginError):  # the copy will tell
        if request.plugin is not None and request.plugin.entry.is_builtin:
            libraries += request.plugin.entry.plugin.late_imports
    for name in libraries:
        with suppress(Exception):  # a plugin may have made a module of such a name
            importlib.import_module(name)


def _new_copy(request: Request, answers: IO[bytes]) -> _Copy:
    own = os.getpid()
    source, target = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(target)
            _become_copy(own)
            _serve_all(_piped(request, os.fdopen(source, "rb")), answers)
        finally:
            os._exit(1)
    os.close(source)
    return _Copy(pid, os.pidfd_open(pid), request.kept, os.fdopen(target, "wb"))


def _become_copy(parent: int) -> None:
    """Lead a process group of one's own, read no requests, and end when the parent does."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        os._exit(1)


def _piped(first: Request, pipe: IO[bytes]) -> Iterator[Request]:
    yield first
    while select.select([pipe], [], [], _IDLE_SECONDS)[0]:
        yield Request(*pickle.load(pipe))  # noqa: S301 - from the parent process alone
    os.kill(os.getppid(), signal.SIGKILL)


def _bury(copy: _Copy) -> None:
    """Forget a copy that has ended; this process dies as it did if that was before it answered."""
    code = _end(copy)
    if code == _ANSWERED:
        return
    faulthandler.disable()
    if code < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(abs(code))


def _end(copy: _Copy) -> int:
    """End what a copy that is ending started, wait for its end and give its exit code."""
    _end_group(copy.pid)  # before it is waited for: its number may be another's then
    os.close(copy.ended)
    with suppress(OSError):
        copy.requests.close()
    return os.waitstatus_to_exitcode(os.waitpid(copy.pid, 0)[1])


def _end_group(pid: int) -> None:
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _serve_all(requests: Iterator[Request], answers: IO[bytes]) -> NoReturn:
    """Do the first request, and others as long as this process is kept for them; then end.

    Neither a thread nor an exit handler of a plugin can delay the end.
    """
    for request in requests:
        before = set(threading.enumerate())
        _serve(request.payload, answers)
        if not (request.kept and _is_fit_for_more(before)):
            break
        _answer(answers, "ended")
    os._exit(_ANSWERED)


def _answer(answers: IO[bytes], kind: str, value: Any = None) -> None:
    answers.write(pickle.dumps((kind, value)))  # whole or not at all
    answers.flush()


def _serve(payload: bytes, answers: IO[bytes]) -> None:
    own, imported = os.getpid(), set(sys.modules)

    def answer(kind: str, value: Any) -> None:
        if os.getpid() != own:  # a copy that the work made of its process came back from it too
            os._exit(1)
        _answer(answers, kind, value)

    answer("begun", own)
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
    answer("done", (value, _libraries(imported)))


def _libraries(before: set[str]) -> list[str]:
    """Modules of libraries that were imported since."""
    new = [name for name in sys.modules if name not in before and _CHANGES_OTHERS not in f"{name}."]
    return [name for name in new if name.partition(".")[0] in _LIBRARIES]


def _is_fit_for_more(threads_before: set[threading.Thread]) -> bool:
    """Whether this process is as good as a new one for the next task of its name.

    A thread that is left behind would compute beside it. And TensorFlow never gives back all that an
    architecture took: the memory of one task would count against the next.
    """
    return set(threading.enumerate()) <= threads_before and Process().memory_info().rss < _MOST_KEPT


def _pickled(payload: bytes, on_epoch: OnEpoch) -> bytes:
    """Value of the work; what cannot be sent, either way, is an exception like any other."""
    return pickle.dumps(pickle.loads(payload)(on_epoch))  # noqa: S301 - from the parent process alone


if __name__ == "__main__":
    main()
