"""How many threads one task computes with.

The number is part of what a result depends on: the order of floating-point sums changes with it. So it does
not follow the number of workers, and a run gives the same bits however many there are.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""Read by the numerical libraries when they are loaded."""


def environment_for(threads: int) -> dict[str, str]:
    """Environment of a process that computes with so many threads, and may share a GPU with others."""
    share = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return share | dict(os.environ) | dict.fromkeys(VARIABLES, str(threads))


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Hold this process to so many threads: libraries that are loaded already, and those loaded inside.

    TensorFlow keeps the number that it was first used with.
    """
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    try:
        with threadpool_limits(threads):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
