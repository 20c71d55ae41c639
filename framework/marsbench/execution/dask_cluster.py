"""Tasks on Dask `distributed`: a scheduler in this process, or a cluster that the user owns.

Dask decides where and when a task runs and sees to workers that come and go. The task itself runs in a worker
process of its own (`isolated`), so that it can take neither a Dask worker nor its neighbours with it.
"""

import asyncio
import logging
import pickle
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Self

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, get_worker, wait
from distributed.core import connect
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.security import Security
from distributed.system import MEMORY_LIMIT

from marsbench.atomic_files import write_atomically
from marsbench.errors import BenchError, ExecutionError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Listener, Outcome, Task
from marsbench.execution.local_pool import Isolation, close_session, run_isolated
from marsbench.execution.worker import Limits
from marsbench.features.store import local_place

_LOOK = 1.0
"""Seconds between two looks at the cluster while no task ends."""
_PATIENCE = 10.0
"""Seconds that a scheduler may take to answer, and a cluster to have its first worker."""
_SHARE_OF_MEMORY = 0.9
_LOOPBACK = "127.0.0.1:0"
"""Dask serves pages of its own; nobody else on the network is to see them."""


class DaskExecutor:
    """Tasks on the workers of a Dask scheduler, each in a worker process there."""

    def __init__(self, connect: Callable[[ExitStack], Client], threads: int, limits: Limits) -> None:
        self._connect = connect
        self._isolation = Isolation(uuid.uuid4().hex, threads, limits)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        # Dask's own lines are for people who run clusters; what happens to a task is in its outcome.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._client = self._connect(self._open)
        self._open.callback(self._end_session)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def slots(self) -> int:
        """Threads of all workers that are there now."""
        return sum(self._asked(self._client.nthreads).values())

    def run(
        self, tasks: Iterable[Task], listener: Listener, stop: Callable[[], bool]
    ) -> Iterator[tuple[Task, Outcome]]:
        """Keep as many tasks under way as there are slots."""
        under_way = _UnderWay(self._client, self._isolation, listener)
        waiting = iter(tasks)
        try:
            slots = self._slots_once_there()
            while True:
                # With no workers there may be new ones: one task waits for them.
                room = max(slots, 1)
                while len(under_way) < room and not stop() and (task := next(waiting, None)) is not None:
                    under_way.submit(task)
                if not len(under_way):
                    return
                yield from under_way.finished()
                before, slots = slots, self.slots
                if before and not slots:
                    listener.waiting("the cluster has no workers left; waiting for new ones")
        finally:
            under_way.drop()

    def sees(self, path: Path) -> bool:
        """Whether the file exists on every worker; those that are still to come are asked nothing."""
        found = self._asked(self._client.run, _exists, str(path)).values()
        return bool(found) and all(found)

    def provide(self, files: Iterable[Path]) -> None:
        """Send the feature files that some worker does not see to all, also to those that come later."""
        missing = [path for path in files if not self.sees(path)]
        if missing:
            self._asked(self._client.register_plugin, _Delivery.of(missing))

    def _slots_once_there(self) -> int:
        with suppress(TimeoutError):
            self._client.wait_for_workers(1, timeout=_PATIENCE)
        if not (slots := self.slots):
            address = self._client.scheduler.address
            raise ExecutionError(
                f"the cluster at {address} has no workers; start one with: dask worker {address}"
            )
        return slots

    def _asked(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (OSError, TimeoutError, RuntimeError) as error:
            raise ExecutionError(f"the cluster does not answer: {error}; {_GO_ON}") from error

    def _end_session(self) -> None:
        with suppress(OSError, TimeoutError, RuntimeError):  # a cluster that is gone has no processes of ours
            self._client.run(close_session, self._isolation.session)


_GO_ON = "the same command goes on from what is finished"


def local_executor(workers: int, threads: int, limits: Limits) -> DaskExecutor:
    """So many worker processes on this machine."""

    def connect(stack: ExitStack) -> Client:
        # Dask gives up a worker it has not heard of for minutes: here both were asleep, as a laptop is.
        with dask.config.set({"distributed.scheduler.worker-ttl": None}):
            cluster = LocalCluster(
                n_workers=1,
                threads_per_worker=workers,
                processes=False,  # one Dask worker in this process; what it runs has processes of its own
                memory_limit=0,  # `Limits` holds those processes
                dashboard_address=_LOOPBACK,
                worker_dashboard_address=_LOOPBACK,
            )
        stack.enter_context(cluster)
        return stack.enter_context(Client(cluster))

    return DaskExecutor(connect, threads, limits)


def remote_executor(address: str, threads: int, limits: Limits) -> DaskExecutor:
    """The workers of the scheduler at `address`, such as tcp://HOST:8786.

    Raises:
        ExecutionError: on entering, if no scheduler answers there.
    """

    def connect(stack: ExitStack) -> Client:
        try:
            _ping(address)
            return stack.enter_context(Client(address, timeout=_PATIENCE, set_as_default=False))
        except Exception as error:  # whatever answers there, its bytes may raise anything
            raise ExecutionError(
                f"no Dask scheduler answers at {address}; start one with: dask scheduler"
            ) from error

    return DaskExecutor(connect, threads, limits)


def _ping(address: str) -> None:
    """Connect once: a client that fails to would go on trying in its own threads."""

    async def knock() -> None:
        comm = await connect(address, timeout=_PATIENCE, **Security().get_connection_args("client"))
        await comm.close()

    async def knock_patiently() -> None:
        await asyncio.wait_for(knock(), _PATIENCE)  # something may listen there and say nothing

    with ThreadPoolExecutor(1) as thread:  # where a notebook calls, an event loop is running already
        thread.submit(asyncio.run, knock_patiently()).result()


@dataclass
class _UnderWay:
    """The tasks that Dask has, and what it tells of them."""

    client: Client
    isolation: Isolation
    listener: Listener
    topic: str = field(default_factory=lambda: f"marsbench-{uuid.uuid4().hex}")
    tasks: dict[Future, Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client.subscribe_topic(self.topic, self._hear)
        self._by_key: dict[str, Task] = {}

    def __len__(self) -> int:
        return len(self.tasks)

    def submit(self, task: Task) -> None:
        key = f"{task.name}-{uuid.uuid4().hex}"
        self._by_key[key] = task
        payload = pickle.dumps(task.work)
        with warnings.catch_warnings():
            # Dask would rather have a checkpoint sent ahead; it is needed once.
            warnings.filterwarnings("ignore", "Sending large graph")
            future = self.client.submit(
                _run_on_worker, payload, self.isolation, self.topic, key, key=key, pure=False
            )
        self.tasks[future] = task

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes of the tasks that have ended; looks in vain for a second if none has."""
        with suppress(TimeoutError), self.client.as_current():
            wait(list(self.tasks), timeout=_LOOK, return_when="FIRST_COMPLETED")
        if self.client.status != "running":
            raise ExecutionError(f"the connection to the cluster is lost; {_GO_ON}")
        for future in [future for future in self.tasks if future.done()]:
            task = self.tasks.pop(future)
            del self._by_key[future.key]
            yield task, _outcome(future)

    def drop(self) -> None:
        """Forget what has not ended."""
        if self.client.status == "running":  # else Dask has forgotten them
            self.client.unsubscribe_topic(self.topic)
            self.client.cancel(list(self.tasks))
        self.tasks.clear()

    def _hear(self, event: tuple[float, tuple[str, tuple[int, int] | None]]) -> None:
        key, epoch = event[1]
        if task := self._by_key.get(key):
            if epoch is None:
                self.listener.started(task)
            else:
                self.listener.epoch(task, *epoch)


def _outcome(future: Future) -> Outcome:
    if future.cancelled():
        raise ExecutionError(f"the cluster has dropped a task; {_GO_ON}")
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

    limited = _with_memory_limit(isolation, worker.state.nthreads)
    return run_isolated(payload, limited, lambda: tell(None), lambda epoch, most: tell((epoch, most)))


def _with_memory_limit(isolation: Isolation, n_processes: int) -> Isolation:
    """An even share of this machine's memory, where the user set no limit."""
    if isolation.limits.memory is not None:
        return isolation
    share = int(_SHARE_OF_MEMORY * MEMORY_LIMIT / n_processes)
    return replace(isolation, limits=replace(isolation.limits, memory=share))


def _exists(path: str) -> bool:
    return Path(path).exists()


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)


class _Delivery(WorkerPlugin):  # type: ignore[misc]  # mypy sees no types of Dask's
    """Writes feature files into the store of every worker's machine that does not see the driver's."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.name = f"marsbench-{uuid.uuid4().hex}"
        self.files = files

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "_Delivery":
        return cls({str(path): path.read_bytes() for path in paths})

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask calls it so
        for name, data in self.files.items():
            if not (path := local_place(Path(name))).exists():
                write_atomically(path, partial(_write, data=data))
