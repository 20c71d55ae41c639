"""Tasks on a Dask cluster that the user runs; imported for `--cluster` only.

Dask decides where and when a task runs and handles workers that come and go. The task itself runs in a worker
process of its own (`worker`), so that a crash affects neither a Dask worker nor other tasks.
"""

import asyncio
import logging
import pickle
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, Self

from distributed import Client, Future, KilledWorker, get_worker, wait
from distributed.core import connect
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.security import Security

from marsbench.atomic_files import write_atomically
from marsbench.errors import BenchError, ExecutionError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import EpochBar, Executor, Outcome, Task
from marsbench.execution.limits import Limits
from marsbench.execution.worker import Isolation, close_session, run_isolated
from marsbench.features.feature_file import local_place
from marsbench.features.shared_place import shared_place

_LOOK = 1.0
"""Seconds between two checks of the cluster while a task runs."""
_PATIENCE = 10.0
"""Seconds that a scheduler may take to answer, and a cluster to have its first worker."""
_GONE = OSError, TimeoutError, RuntimeError, AttributeError
"""What calls of a client raise once the cluster is gone; it then has no `scheduler` to call."""
_RESUME = "rerun the same command to resume"


class DaskExecutor(Executor):
    """The workers of a scheduler, at an address such as tcp://HOST:8786."""

    runs_in_caller = False

    def __init__(self, address: str, threads: int, limits: Limits) -> None:
        self._address = address
        self._isolation = Isolation(uuid.uuid4().hex, threads, limits)
        self._open = ExitStack()
        self._topic = f"marsbench-{uuid.uuid4().hex}"
        self._bars: dict[str, EpochBar] = {}
        """By the key of the task."""
        self._lock = threading.Lock()
        self._n_slots = 0
        self._counted_at = -_LOOK
        self._lost_all = False
        """Whether there were workers and none is left."""
        self._has_reported = False
        """Whether the loss of all workers was reported."""

    def __enter__(self) -> Self:
        """Connect; raises ExecutionError if no scheduler answers."""
        # Dask's own lines are for people who run clusters; what happens to a task is in its outcome.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        # Dask would rather have a checkpoint sent ahead; it is needed once.
        self._open.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Sending large graph")
        try:
            _ping(self._address)
            client = Client(self._address, timeout=_PATIENCE, set_as_default=False)
        except Exception as error:  # whatever answers there, its bytes may raise anything
            self._open.close()
            raise ExecutionError(
                f"no Dask scheduler answers at {self._address}; start one with: dask scheduler"
            ) from error
        self._client = self._open.enter_context(client)
        self._open.callback(self._end_session)
        self._client.subscribe_topic(self._topic, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        # A client that has lost its scheduler may fail to close its connections, which are gone anyway.
        is_lost = self._client.status != "running"
        with suppress(*_GONE) if is_lost else nullcontext():
            self._open.close()

    @property
    def slots(self) -> int:  # type: ignore[override]  # workers come and go
        """Threads of all workers, counted at most once a second; 1 while there are none, for one to wait."""
        with self._lock:
            return max(1, self._count())

    def submit(self, task: Task, bar: EpochBar) -> Outcome:
        """Send the task to the cluster and wait until one of its workers has done it."""
        self._require_workers()
        key = f"{task.name}-{uuid.uuid4().hex}"
        self._bars[key] = bar
        try:
            future = self._client.submit(
                _run_on_worker,
                pickle.dumps(task.work),
                self._isolation.of(task, self.longest()),
                self._topic,
                key,
                key=key,
                pure=False,
            )
            while not self._has_ended(future):
                self._report_lost_workers(bar)
            return _outcome(future)
        finally:
            del self._bars[key]

    def sees(self, path: Path) -> bool:
        """Whether the file exists on every worker; those that are still to come are asked nothing."""
        found = self._asked(self._client.run, Path.exists, path).values()
        return bool(found) and all(found)

    def provide(self, files: Iterable[Path]) -> None:
        """Send the feature files that some worker does not see to all, also to those that come later.

        Where machines share a place for features, each worker fetches them from there once it needs them.
        """
        if shared_place() is not None:
            return
        missing = [path for path in files if not self.sees(path)]
        if missing:
            self._asked(self._client.register_plugin, _Delivery(missing))

    def _require_workers(self) -> None:
        """Wait for the first worker; raises ExecutionError if none comes."""
        with self._lock:
            if self._n_slots or self._lost_all:
                return  # where all are lost later, tasks wait for new ones
            with suppress(TimeoutError):
                self._client.wait_for_workers(1, timeout=_PATIENCE)
            self._counted_at = -_LOOK
            if not self._count():
                raise ExecutionError(
                    f"the cluster at {self._client.scheduler.address} has no workers; start one with: "
                    f"dask worker {self._client.scheduler.address}"
                )

    def _count(self) -> int:
        """Number of slots; the lock is held."""
        if time.monotonic() > self._counted_at + _LOOK:
            before, self._n_slots = self._n_slots, sum(self._asked(self._client.nthreads).values())
            self._counted_at = time.monotonic()
            self._lost_all = not self._n_slots and (self._lost_all or before > 0)
        return self._n_slots

    def _has_ended(self, future: Future) -> bool:
        """Whether the task has ended; waits for a second if it has not."""
        with suppress(TimeoutError, CancelledError), self._client.as_current():
            wait([future], timeout=_LOOK)
        if self._client.status != "running":
            raise ExecutionError(f"the connection to the cluster is lost; {_RESUME}")
        return bool(future.done())

    def _report_lost_workers(self, bar: EpochBar) -> None:
        with self._lock:
            if not self._count() and self._lost_all and not self._has_reported:
                bar.waiting("the cluster has no workers left; waiting for new ones")
            self._has_reported = self._lost_all

    def _pass_on(self, event: tuple[float, tuple[str, tuple[int, int] | None]]) -> None:
        """Show what a task's worker tells."""
        key, epoch = event[1]
        if bar := self._bars.get(key):
            if epoch is None:
                bar.started()
            else:
                bar.epoch(*epoch)

    def _asked(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except _GONE as error:
            raise ExecutionError(f"the cluster does not answer: {error}; {_RESUME}") from error

    def _end_session(self) -> None:
        with suppress(*_GONE):  # a cluster that is gone has no processes of ours
            self._client.run(close_session, self._isolation.session)


def _ping(address: str) -> None:
    """Connect once: a client that fails to would go on trying in its own threads."""

    async def knock() -> None:
        comm = await connect(address, timeout=_PATIENCE, **Security().get_connection_args("client"))
        await comm.close()

    async def knock_patiently() -> None:
        await asyncio.wait_for(knock(), _PATIENCE)  # something may listen there and say nothing

    with ThreadPoolExecutor(1) as thread:  # where a notebook calls, an event loop is running already
        thread.submit(asyncio.run, knock_patiently()).result()


def _outcome(future: Future) -> Outcome:
    if future.cancelled():
        raise ExecutionError(f"the cluster has dropped a task; {_RESUME}")
    error = future.exception()
    if error is None:
        outcome: Outcome = future.result()
        return outcome
    if isinstance(error, BenchError):
        raise error
    if isinstance(error, KilledWorker):
        deaths = error.allowed_failures + 1
        return Outcome(Failure(kind="WorkerDied", message=f"{deaths} Dask workers died while running it"))
    raise ExecutionError(f"a worker of the cluster cannot run marsbench: {type(error).__name__}: {error}")


def _run_on_worker(payload: bytes, isolation: Isolation, topic: str, key: str) -> Outcome:
    """What a Dask worker's thread does for a task."""
    worker = get_worker()

    def tell(epoch: tuple[int, int] | None) -> None:
        worker.log_event(topic, (key, epoch))

    limited = isolation.shared_by(worker.state.nthreads)
    return run_isolated(payload, limited, lambda: tell(None), lambda epoch, most: tell((epoch, most)))


class _Delivery(WorkerPlugin):  # type: ignore[misc]  # mypy sees no types of Dask's
    """Writes feature files into the store of every worker's machine that does not see the driver's."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.name = f"marsbench-{uuid.uuid4().hex}"
        self.files = {path: path.read_bytes() for path in paths}

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask calls it so
        for there, data in self.files.items():
            if not (path := local_place(there)).exists():
                write_atomically(path, lambda file, data=data: file.write(data))  # type: ignore[misc]  # mypy infers no lambda with a default
