"""How much of the time that an experiment may take is left for trials."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class TimeBudget:
    """Seconds for a whole experiment, shared out among its tuned runs as they come.

    Trials are what is cut: a run's share keeps back what fitting its folds once more will take.
    """

    seconds: float | None
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def share(self, n_runs: int, spent: float) -> float | None:
        """Moment by which the next of `n_runs` runs should be finished, None for any.

        `spent` is what earlier, interrupted commands took for that run.
        """
        if self.seconds is None:
            return None
        left = self.seconds - (self.clock() - self.started)
        return self.clock() + left / max(1, n_runs) - spent

    def is_up(self, until: float | None, needed: float) -> bool:
        """Whether something of so many seconds would end after that moment."""
        return until is not None and self.clock() + needed > until

    def deadline(self, until: float | None, reserved: float) -> float | None:
        """`time.time()` of that moment, less what is reserved for later."""
        return None if until is None else time.time() + until - self.clock() - reserved
