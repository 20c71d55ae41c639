"""What a tuner maximises."""

import numpy as np
from numpy.typing import NDArray

from marsbench.evaluation.metrics import confusion


def objective_score(objective: str, probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Score in [0, 1] of predictions; `objective` names a score of `Confusion`."""
    return float(getattr(confusion(targets, probabilities), objective))
