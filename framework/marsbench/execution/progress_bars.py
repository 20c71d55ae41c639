"""A progress bar for each task that reports epochs."""

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from weakref import WeakSet

from marsbench.execution.base import Task
from marsbench.progress import Advance, Progress


@dataclass
class _Bar:
    advance: Advance
    stack: ExitStack
    shown: int = 0


@dataclass
class ProgressBars:
    """The `Listener` that shows a bar for each task."""

    progress: Progress
    _bars: dict[Task, _Bar] = field(default_factory=dict)
    _ended: WeakSet[Task] = field(default_factory=WeakSet)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def started(self, task: Task) -> None:
        """A task that begins again has a new bar."""
        with self._lock:
            self._close(task)

    def epoch(self, task: Task, epoch: int, most: int) -> None:
        """Open the task's bar with its first epoch: models without epochs show none."""
        with self._lock:
            if task in self._ended:
                return
            if task not in self._bars:
                stack = ExitStack()
                advance = stack.enter_context(self.progress.track(f"{task.name}, epochs", most, passing=True))
                self._bars[task] = _Bar(advance, stack)
            bar = self._bars[task]
            bar.advance(epoch - bar.shown)
            bar.shown = epoch

    def waiting(self, why: str) -> None:
        """Print the reason above the bars."""
        self.progress.say(why)

    def ended(self, task: Task) -> None:
        """The task has ended; later reports are ignored."""
        with self._lock:
            self._ended.add(task)
            self._close(task)

    def _close(self, task: Task) -> None:
        if bar := self._bars.pop(task, None):
            bar.stack.close()
