"""How much of a time budget is left."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Clock:
    """Counts the seconds of a time budget, with those that interrupted commands spent of it."""

    budget: float = math.inf
    """Seconds; infinite for no limit."""
    spent: float = 0.0
    """Seconds that earlier commands took."""
    now: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.now()

    @property
    def elapsed(self) -> float:
        """Seconds that all commands together took."""
        return self.spent + self.now() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left, negative once the time is up."""
        return self.budget - self.elapsed

    def reaches(self, share: float, needed: float = 0.0) -> bool:
        """Whether something that takes `needed` seconds would end within that share of the budget."""
        return self.elapsed + needed <= share * self.budget

    def part(self, n_parts: int, spent: float) -> Self:
        """A clock for one of `n_parts` equal parts of what is left; `spent` of it is gone already."""
        return type(self)(self.left / max(1, n_parts), spent, self.now)

    def deadline(self, reserved: float) -> float | None:
        """`time.time()` at which only `reserved` seconds are left; None for never."""
        return None if math.isinf(self.budget) else time.time() + self.left - reserved
