"""Folds that are worked on side by side, each of them one task after another."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from marsbench.execution.base import Outcome, Task
from marsbench.execution.interrupt import Stopped

Steps = Generator[Task, Outcome, Outcome]
"""Yields the tasks that a fold needs, is sent their outcomes, and returns what came of the fold."""


@dataclass
class FoldWork:
    """What is to be done for one fold of one run."""

    steps: Steps
    begin: Callable[[], None]
    """Called before its first task is handed out."""
    end: Callable[[Outcome], None]
    """Called with what came of it."""
    n_handed_out: int = 0


@dataclass
class FoldQueue:
    """Hands out tasks, those of the fold that has had the fewest first; takes their outcomes.

    An iterator that may have more after it had none: a fold has none while one of its tasks is under way.
    """

    batches: Iterator[list[FoldWork]]
    """The folds of one run after another; a run's are begun when those before have no task to hand out."""
    _ready: list[tuple[FoldWork, Task]] = field(default_factory=list)
    _under_way: dict[Task, FoldWork] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Task]:
        return self

    def __next__(self) -> Task:
        while not self._ready:
            for work in next(self.batches):
                self._go_on(work, None)
        least = min(range(len(self._ready)), key=lambda index: self._ready[index][0].n_handed_out)
        work, task = self._ready.pop(least)
        if not work.n_handed_out:
            work.begin()
        work.n_handed_out += 1
        self._under_way[task] = work
        return task

    def take(self, task: Task, outcome: Outcome) -> None:
        """Go on with the fold whose task has ended."""
        self._go_on(self._under_way.pop(task), outcome)

    def _go_on(self, work: FoldWork, outcome: Outcome | None) -> None:
        try:
            task = next(work.steps) if outcome is None else work.steps.send(outcome)
        except StopIteration as stop:
            work.end(stop.value)
        except Stopped:
            return  # this fold goes no further; what is under way of others is still to come in
        else:
            self._ready.append((work, task))
