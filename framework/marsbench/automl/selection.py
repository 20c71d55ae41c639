"""Which contenders make the best ensemble, by what they say inside the folds' training parts alone."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from marsbench.automl.candidates import Contender
from marsbench.evaluation.fusion import Weights, fit_weights, pool
from marsbench.evaluation.objective import objective_score

MOST_MEMBERS = 5
_GAIN = 0.01
"""Share of the log loss that one more member has to save: each is another model to fit, keep and ask."""
_LEAST = 1e-12


def best_members(contenders: Sequence[Contender], most: int = MOST_MEMBERS) -> list[Contender]:
    """The best contender, then whichever lowers the pool's log loss most, as long as one lowers it.

    Forward selection of an ensemble (Caruana et al. 2004, doi:10.1145/1015330.1015432).
    """
    chosen = [max(contenders, key=lambda one: one.score)]
    loss = pooled_log_loss(chosen)
    while len(chosen) < most:
        others = [one for one in contenders if all(one is not other for other in chosen)]
        losses = [pooled_log_loss([*chosen, other]) for other in others]
        if not losses or min(losses) > (1 - _GAIN) * loss:
            break
        loss = min(losses)
        chosen.append(others[losses.index(loss)])
    return chosen


def pooled_log_loss(members: Sequence[Contender]) -> float:
    """Mean over folds; each fold's clips meet the mean of the weights that the other folds fitted."""
    losses = []
    for fold, fused in enumerate(_pooled(members)):
        targets = members[0].inner[fold].targets
        losses.append(-np.log(np.maximum(fused[np.arange(len(targets)), targets], _LEAST)).mean())
    return float(np.mean(losses))


def pooled_score(members: Sequence[Contender]) -> float:
    """Mean over folds of the objective, weights as in `pooled_log_loss`."""
    return fmean(
        objective_score(members[0].objective, fused, members[0].inner[fold].targets)
        for fold, fused in enumerate(_pooled(members))
    )


def _pooled(members: Sequence[Contender]) -> list[NDArray[np.float64]]:
    n_folds = len(members[0].inner)
    said = [np.stack([member.inner[fold].probabilities for member in members]) for fold in range(n_folds)]
    weights = [fit_weights(said[fold], members[0].inner[fold].targets) for fold in range(n_folds)]
    return [pool(said[fold], _of_others(weights, fold)) for fold in range(n_folds)]


def _of_others(weights: Sequence[Weights], fold: int) -> Weights:
    others = [one for number, one in enumerate(weights) if number != fold] or list(weights)
    return np.asarray(np.mean(others, axis=0), np.float64)
