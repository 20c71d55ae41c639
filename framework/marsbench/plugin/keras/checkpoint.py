"""Where the training of a Keras network stands, as bytes that hold numbers only."""

import io
import json
from dataclasses import dataclass, field
from math import inf, isnan
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import TrainingError

Values = list[NDArray[Any]]
"""Of variables, in their order."""


@dataclass
class Checkpoint:
    """Training after `len(history)` epochs."""

    values: Values = field(default_factory=list)
    """Of the network's variables and its optimiser's; nothing before the first epoch."""
    best: Values = field(default_factory=list)
    """Of the network's variables after the epoch of least validation loss; nothing without validation."""
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return len(self.history) - self.best_epoch

    def is_best(self) -> bool:
        """Whether the last epoch has the least validation loss so far; the first of equals is the best."""
        losses = [epoch.get("val_loss", inf) for epoch in self.history]
        return all(losses[-1] < loss or isnan(loss) for loss in losses[:-1])

    def to_bytes(self) -> bytes:
        """An npz archive."""
        plain = json.dumps({"best_epoch": self.best_epoch, "history": self.history}).encode()
        arrays = {f"values_{index}": value for index, value in enumerate(self.values)}
        arrays |= {f"best_{index}": value for index, value in enumerate(self.best)}
        file = io.BytesIO()
        np.savez(file, plain=np.frombuffer(plain, np.uint8), **arrays)  # type: ignore[arg-type]  # NumPy's stub takes the names for its own
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave; raises TrainingError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                plain = json.loads(arrays["plain"].tobytes())
                values, best = (_numbered(arrays, group) for group in ("values", "best"))
                history = [{str(k): float(v) for k, v in epoch.items()} for epoch in plain["history"]]
                return cls(values, best, int(plain["best_epoch"]), history)
        except Exception as error:  # damaged archives raise errors of a dozen kinds
            raise TrainingError(f"a checkpoint cannot be read: {error}") from error


def _numbered(arrays: Any, group: str) -> Values:
    count = sum(name.startswith(f"{group}_") for name in arrays)
    return [arrays[f"{group}_{index}"] for index in range(count)]
