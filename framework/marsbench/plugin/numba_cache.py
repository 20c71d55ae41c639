"""Lets processes share the compiled code of librosa, which numba keeps on disk.

A compiled function is kept in several files that refer to one another. Two processes that compile it at the
same time overwrite each other's, and every later process that loads the mixture crashes. So one process at a
time looks for compiled code, compiles and keeps it; the others then find it.
"""

import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType

from marsbench.hashing import digest


@cache
def share_compiled_code() -> None:
    """Let one process at a time compile, from the moment that anything in this process imports numba.

    To be called before librosa is imported: some of its functions are compiled as they are imported.
    """
    from wrapt import register_post_import_hook

    register_post_import_hook(_compile_alone, "numba")


def _compile_alone(numba: ModuleType) -> None:
    import platformdirs
    from filelock import FileLock

    guard = threading.Lock()
    # Of the user, wherever `MARSBENCH_HOME` is, and of the installation, as numba's files are.
    name = f"numba-{digest([str(numba.__file__), numba.config.CACHE_DIR])[:8]}.lock"
    lock = FileLock(Path(platformdirs.user_cache_dir("marsbench")) / name, thread_local=False)

    class Compilation(numba.core.event.Listener):  # type: ignore[misc, name-defined]  # known after its import
        """Holds the lock while this process looks for compiled code or compiles; calls are nested."""

        def on_start(self, event: object) -> None:  # noqa: ARG002 - numba's signature
            with guard, suppress(OSError):  # where no file can be locked, none can be kept
                Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
                lock.acquire()

        def on_end(self, event: object) -> None:  # noqa: ARG002 - numba's signature
            with guard:
                lock.release()

    numba.core.event.register("numba:compiler_lock", Compilation())
