"""Lets processes share the compiled code of librosa, which numba keeps on disk.

A compiled function is kept in several files that refer to one another. Two processes that compile it at the
same time overwrite each other's, and every later process that loads the mixture crashes. So one process at a
time looks for compiled code, compiles and keeps it; the others then find it.
"""

import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import platformdirs
from filelock import FileLock

_COMPILED = {"librosa", "numba"}


def share_compiled_code(requires: tuple[str, ...]) -> None:
    """Let one process at a time compile, if a plugin requires a library that numba compiles.

    Args:
        requires: the plugin's libraries, as in `Plugin.requires`.
    """
    if _COMPILED & set(requires):
        _register()


@cache
def _register() -> None:
    from numba.core import event

    guard = threading.Lock()
    # Of the user, wherever `MARSBENCH_HOME` is: numba's files are the installation's.
    lock = FileLock(Path(platformdirs.user_cache_dir("marsbench")) / "numba.lock", thread_local=False)

    class Compilation(event.Listener):
        """Holds the lock while this process looks for compiled code or compiles; calls are nested."""

        def on_start(self, event: object) -> None:  # noqa: ARG002 - numba's signature
            with guard, suppress(OSError):  # where no file can be locked, none can be kept
                Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
                lock.acquire()

        def on_end(self, event: object) -> None:  # noqa: ARG002 - numba's signature
            with guard:
                lock.release()

    event.register("numba:compiler_lock", Compilation())  # type: ignore[no-untyped-call]  # numba has few types
