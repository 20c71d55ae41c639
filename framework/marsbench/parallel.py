"""One function over many items in several processes."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORTH_A_PROCESS = 24
"""Starting workers costs seconds of imports; fewer items than this are done sooner without."""


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Results as they become ready, in no order; in this process if there is little to do.

    The function and its items are pickled; an exception it raises is raised here.
    """
    if workers < 2 or len(items) < _WORTH_A_PROCESS:
        yield from map(function, items)
        return
    # joblib's workers do not run the caller's script again, so no script needs a __main__ guard.
    from joblib import Parallel, delayed

    tasks = (delayed(function)(item) for item in items)
    yield from Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)(tasks)
