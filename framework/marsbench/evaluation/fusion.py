"""Late fusion: one set of probabilities of several models', a weighted mean.

Weights that minimise the log loss of the mean are those of the components of a mixture. Expectation
maximisation finds them (Dempster, Laird & Rubin 1977, section 4.3): the problem is convex, a step never makes
the loss worse, and there is nothing to tune.
"""

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
_LEAST = 1e-15
"""Probability that no model goes below, as in `calibration.log_loss`: 0 for one clip would decide all."""
_TOLERANCE = 1e-4
"""Nats by which the log loss may be above the least one: far below what chance of the clips makes of it."""
_MOST_STEPS = 20_000
"""Far more than are needed: a hundred are usual."""
_NOTHING = 1e-6
"""Weight that is none."""


def fuse(probabilities: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """Weighted mean of the probabilities of several models.

    Args:
        probabilities: (n_models, n_clips, n_classes).
        weights: (n_models,), summing to 1.

    Returns:
        (n_clips, n_classes).
    """
    return np.asarray(np.tensordot(weights, probabilities, axes=1), np.float64)


def equal_weights(n_models: int) -> Weights:
    """The weights of a plain mean."""
    return np.full(n_models, 1 / n_models)


def fit_weights(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> Weights:
    """Weights of the mean that has the least log loss; models that say the same share theirs equally.

    Args:
        probabilities: of clips that none of the models was fitted on, (n_models, n_clips, n_classes).
        targets: true class of each clip, (n_clips,).

    Returns:
        (n_models,): none negative, summing to 1.
    """
    of_truth = np.maximum(probabilities[:, np.arange(len(targets)), targets], _LEAST)
    weights = equal_weights(len(probabilities))
    for _ in range(_MOST_STEPS):
        # Each model's probability of the truth over that of the mean, averaged over clips. At the optimum it
        # is 1 for every model that has a weight, and at most 1 for the others; since the problem is convex,
        # the largest less 1 bounds what is still to be gained.
        gains = (of_truth / (weights @ of_truth)).mean(axis=1)
        if gains.max() <= 1 + _TOLERANCE:
            break
        weights = weights * gains
    weights = np.where(weights < _NOTHING, 0.0, weights)  # where it goes to 0, it never gets there
    return np.asarray(weights / weights.sum(), np.float64)
