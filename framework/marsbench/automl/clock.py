"""How much of a search's time is gone."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds of a search, those that interrupted commands spent on it included."""

    budget: float
    spent: float = 0.0
    """By earlier commands."""
    now: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.now()

    @property
    def elapsed(self) -> float:
        """Seconds, of all commands together."""
        return self.spent + self.now() - self._started

    @property
    def left(self) -> float:
        """Seconds, negative once the time is up."""
        return self.budget - self.elapsed

    def reaches(self, share: float, needed: float = 0.0) -> bool:
        """Whether something that takes `needed` seconds would end within that share of the budget."""
        return self.elapsed + needed <= share * self.budget
