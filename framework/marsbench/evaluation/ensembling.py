"""Late fusion: class probabilities of several models made into one set.

Equal weights average the probabilities. Fitted weights are exponents of a logarithmic opinion pool (Genest &
Zidek 1986): p(class) ~ product of p_m(class) ^ w_m with w_m >= 0. A mean of probabilities is underconfident
even if every model is calibrated (Ranjan & Gneiting 2010); in the pool, models that agree raise the
confidence, and the sum of the weights says by how much. Fitting the weights is a convex problem.
"""

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
_LEAST = 1e-3
"""Smaller probabilities are raised to this one: no model alone rules a class out."""
_PULL = 1.0
"""Penalty for a weight that is 1 away from the equal one, in nats over all clips: a few clips cannot move the
weights far, hundreds can. It keeps weights finite, and equal for models with equal predictions."""


def average(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of the probabilities of several models, (n_models, n_clips, n_classes) to (n_clips, n_classes)."""
    return np.asarray(probabilities.mean(axis=0, dtype=np.float64))


def pool(probabilities: NDArray[np.floating], weights: Weights) -> NDArray[np.float64]:
    """Logarithmic pool of several models, (n_models, n_clips, n_classes) to (n_clips, n_classes).

    Rows sum to 1; weights, (n_models,), are none negative and of any sum.
    """
    return _normalised(np.tensordot(weights, _logarithms(probabilities), axes=1))


def fit_weights(probabilities: NDArray[np.floating], targets: NDArray[np.int64]) -> Weights:
    """Weights of the logarithmic pool that has the least log loss, pulled a little to equal ones.

    Args:
        probabilities: of clips that none of the models was fitted on, (n_models, n_clips, n_classes).
        targets: true class of each clip, (n_clips,).
    """
    from scipy.optimize import minimize  # slow to import

    logarithms = _logarithms(probabilities)
    n_models, n_clips, _ = logarithms.shape
    of_truth = logarithms[:, np.arange(n_clips), targets]
    equal = np.full(n_models, 1 / n_models)
    pull = _PULL / n_clips

    def loss_and_gradient(weights: Weights) -> tuple[float, Weights]:
        scores = np.tensordot(weights, logarithms, axes=1)
        fused = _normalised(scores)
        highest = scores.max(axis=1)
        log_sums = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1))
        loss = float((log_sums - weights @ of_truth).mean() + pull * ((weights - equal) ** 2).sum())
        expected = np.einsum("mck,ck->mc", logarithms, fused)
        return loss, (expected - of_truth).mean(axis=1) + 2 * pull * (weights - equal)

    found = minimize(
        loss_and_gradient,
        equal,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * n_models,
        options={"ftol": 1e-12, "gtol": 1e-8, "maxiter": 1000},
    )
    return np.asarray(found.x, np.float64)


def _logarithms(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities.astype(np.float64), _LEAST))


def _normalised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over classes."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)
