"""Functions side by side in threads of their own, and the order in which an executor gets their tasks.

The work of a run or a fold is a plain function that submits tasks and waits for their outcomes. Only one of
the functions computes at a time: whoever waits lets another one go on. So what they share (results of a run,
progress bars, studies, files) needs no locks. The thread that calls `Scheduler.run` hands out the tasks:
first those of functions that were begun earlier, among them those that have had fewer tasks.
"""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from marsbench.errors import StorageError
from marsbench.execution.base import EpochBar, Executor, Outcome, Task
from marsbench.progress import Progress

Function = Callable[[], object]
"""Runs in a thread of its own; its return value is ignored."""

_LOOK = 0.2
"""Seconds between two checks for Ctrl-C."""
_GRACE = 10.0
"""Most seconds to wait, after a failure, for the function that computes at that moment."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C was pressed once: no further task begins."""


@dataclass(eq=False)
class _Branch:
    """A function in its thread."""

    number: int
    """Position among the functions of `run`, of this one or of the one that began it."""
    position: int
    """Position among those that were begun together; 0 for a function of `run`."""
    n_tasks: int = 0
    """Tasks handed out so far."""
    was_stopped: bool = False

    @property
    def priority(self) -> tuple[int, int, int]:
        return self.number, self.n_tasks, self.position


@dataclass(eq=False)
class _Request:
    """A task that waits for a slot, or has one."""

    task: Task
    executor: Executor
    begin: Callable[[], object]
    """Called when the task is handed out."""
    branch: _Branch
    is_handed_out: bool = False
    outcome: Outcome | None = None

    @property
    def is_answered(self) -> bool:
        """Whether waiting is over: the outcome is there, or the waiting thread is to run the task."""
        return self.outcome is not None or (self.is_handed_out and not self.executor.runs_in_caller)

    def run(self, progress: Progress) -> Outcome:
        """Run the task; its bar ends with it. A StorageError names it."""
        self.begin()
        bar = EpochBar(progress, self.task.name)
        try:
            return self.executor.submit(self.task, bar)
        except StorageError as error:
            raise StorageError(f"{self.task.name}: {error}") from error
        finally:
            bar.end()


class Scheduler:
    """Runs functions and hands out their tasks."""

    def __init__(self, stop: Callable[[], bool], progress: Progress) -> None:
        self.stop = stop
        """Whether Ctrl-C was pressed: no further task begins."""
        self._progress = progress
        self._turn = threading.Lock()
        """Held by the function that computes."""
        self._changed = threading.Condition()
        """Held while the fields below are read or changed; notified after a change."""
        self._requests: list[_Request] = []
        self._n_begun = 0
        """Number of functions that have not ended."""
        self._n_active = 0
        """Number of functions that compute or wait for the turn."""
        self._is_closed = False
        """Whether no further task is handed out."""
        self._error: BaseException | None = None
        """The first exception of a function; no function continues after it."""
        self._mine = threading.local()
        """The `branch` of a thread."""

    def run(self, functions: Iterable[Function]) -> None:
        """Run functions until all have ended; called from the main thread, never from a function.

        A function begins when those before it leave a slot free. After Ctrl-C no function and no task begins;
        running tasks finish.

        Raises:
            Stopped: after Ctrl-C, once the running tasks have ended.
            Exception: what a function raised; running tasks are abandoned.
        """
        source, threads = iter(functions), list[threading.Thread]()
        try:
            while (function := self._next_of(source)) is not None:
                threads.append(self._begin(function, _Branch(len(threads), 0)))
            self._hand_out_until(lambda: not self._n_begun)
        except BaseException as error:
            self._abandon(error)
            raise
        for thread in threads:
            thread.join()
        if self.stop():
            raise Stopped

    def side_by_side(self, functions: Sequence[Function]) -> None:
        """Called by a function: run others until all have ended; raises Stopped if one was stopped."""
        own: _Branch = self._mine.branch
        branches = [_Branch(own.number, position) for position, _ in enumerate(functions)]
        threads = [self._begin(*pair) for pair in zip(functions, branches, strict=True)]
        with self.others_go_on():
            for thread in threads:
                thread.join()
        if any(branch.was_stopped for branch in branches):
            raise Stopped

    def submit(self, task: Task, executor: Executor, begin: Callable[[], object] = lambda: None) -> Outcome:
        """Called by a function: run a task and wait for its outcome; other functions compute meanwhile.

        Args:
            task: what to run.
            executor: where to run it.
            begin: called when the task is handed out.

        Raises:
            Stopped: Ctrl-C was pressed before the task began.
            ConfigError, StorageError, ExecutionError: see `Executor.submit`.
        """
        # The function has its turn again before its slot is free: what it asks for next comes first.
        request = _Request(task, executor, begin, self._mine.branch)
        with self._queued(request), self.others_go_on():
            return self._outcome(request)

    def submit_all(self, tasks: Iterable[Task], executor: Executor) -> Iterator[Outcome]:
        """Called by a function inside `others_go_on`: run many tasks; gives outcomes as the tasks end.

        Raises:
            Stopped: after the outcomes of all tasks that began before Ctrl-C.
            ConfigError, StorageError, ExecutionError: see `Executor.submit`.
        """
        branch: _Branch = self._mine.branch

        def outcome(task: Task) -> Outcome:
            request = _Request(task, executor, lambda: None, branch)
            with self._queued(request):
                return self._outcome(request)

        pool, was_stopped = ThreadPoolExecutor(executor.slots), False
        try:
            for future in as_completed([pool.submit(outcome, task) for task in tasks]):
                if isinstance(future.exception(), Stopped):
                    was_stopped = True  # running tasks still have outcomes
                else:
                    yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
        if was_stopped:
            raise Stopped

    @contextmanager
    def others_go_on(self) -> Iterator[None]:
        """Let other functions compute inside the context, which must not touch what functions share."""
        with self._changed:
            self._n_active -= 1
            self._changed.notify_all()
        self._turn.release()
        try:
            yield
        finally:
            with self._changed:
                self._n_active += 1
            self._take_turn()

    def _next_of(self, source: Iterator[Function]) -> Function | None:
        """The next function, once there is a slot for its tasks; None after the last one and after Ctrl-C."""
        self._hand_out_until(lambda: self._is_closed or self._has_room())
        if self._is_closed:
            return None
        with self._turn:  # the iterator may compute, too
            return next(source, None)

    def _has_room(self) -> bool:
        """Whether every function waits, no task waits for a slot, and a slot is free."""
        return not self._n_active and all(
            request.is_handed_out and self._has_slot(request.executor) for request in self._requests
        )

    def _begin(self, function: Function, branch: _Branch) -> threading.Thread:
        with self._changed:
            self._n_begun += 1
            self._n_active += 1
        thread = threading.Thread(target=self._follow, args=(function, branch), daemon=True)
        thread.start()
        return thread

    def _follow(self, function: Function, branch: _Branch) -> None:
        """What the thread of a function does."""
        self._mine.branch = branch
        try:
            self._take_turn()
            function()
        except Stopped:
            branch.was_stopped = True
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._error = self._error or error
        finally:
            self._turn.release()
            with self._changed:
                self._n_begun -= 1
                self._n_active -= 1
                self._changed.notify_all()

    def _take_turn(self) -> None:
        """Wait for the turn. Raises Stopped if a function has failed; the turn is held in either case."""
        self._turn.acquire()
        if self._error is not None:
            raise Stopped

    @contextmanager
    def _queued(self, request: _Request) -> Iterator[None]:
        """Have a request handed out inside the context, with a slot from then to its end."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._requests.remove(request)
                self._changed.notify_all()

    def _outcome(self, request: _Request) -> Outcome:
        """Wait for a slot, then for the outcome."""
        with self._changed:
            self._changed.wait_for(lambda: request.is_answered or self._is_closed)
            if not request.is_answered:
                raise Stopped
        return request.outcome or request.run(self._progress)

    def _hand_out_until(self, is_done: Callable[[], bool]) -> None:
        """Hand out tasks until a condition holds; raises the exception of a function."""
        while True:
            with self._changed:
                if self._error is not None:
                    raise self._error
                if self.stop() and not self._is_closed:
                    self._is_closed = True
                    self._changed.notify_all()
                if is_done():
                    return
                if (request := self._next()) is None:
                    self._changed.wait(_LOOK)
                    continue
                request.is_handed_out = True
                request.branch.n_tasks += 1
                self._changed.notify_all()
            if request.executor.runs_in_caller:
                self._run_here(request)

    def _run_here(self, request: _Request) -> None:
        with self._turn:
            request.outcome = request.run(self._progress)
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> _Request | None:
        """The task to hand out next, once every function waits: so the order does not depend on speed."""
        if self._n_active or self._is_closed:
            return None
        there = [
            request
            for request in self._requests
            if not request.is_handed_out and self._has_slot(request.executor)
        ]
        return min(there, key=lambda request: request.branch.priority, default=None)

    def _has_slot(self, executor: Executor) -> bool:
        busy = sum(request.is_handed_out and request.executor is executor for request in self._requests)
        return busy < executor.slots

    def _abandon(self, error: BaseException) -> None:
        """Stop all functions; the one that computes may finish what it writes."""
        with self._changed:
            self._error = self._error or error
            self._is_closed = True
            self._changed.notify_all()
        if self._turn.acquire(timeout=_GRACE):
            self._turn.release()


@contextmanager
def graceful_interruption(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Give a function that returns whether Ctrl-C was pressed; a second press raises KeyboardInterrupt.

    In threads other than the main one, which get no signals, it always returns False.
    """
    n_pressed = 0

    def press(_number: int, _frame: FrameType | None) -> None:
        nonlocal n_pressed
        n_pressed += 1
        if n_pressed > 1:
            raise KeyboardInterrupt
        say("Ctrl-C: running tasks finish and are saved; press it again to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: n_pressed > 0
    except Exception as error:
        if n_pressed > 1:  # it may come as another error, such as that of a lock that it left released
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
