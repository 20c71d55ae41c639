"""Sets that grow together: which things belong to one group, told pair by pair."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Groups(Generic[T]):
    """Each thing is on its own until it is joined with another (union-find with halved paths)."""

    def __init__(self, pairs: Iterable[tuple[T, T]] = ()) -> None:
        self._above: dict[T, T] = {}
        for first, second in pairs:
            self.join(first, second)

    def of(self, thing: T) -> T:
        """The one thing that stands for the group of `thing`."""
        above = self._above
        while (parent := above.get(thing, thing)) != thing:
            above[thing] = above.get(parent, parent)
            thing = parent
        return thing

    def join(self, first: T, second: T) -> None:
        """Make one group of two."""
        self._above[self.of(first)] = self.of(second)
