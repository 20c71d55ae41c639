"""How far the score of a pipeline is above the truth, since it was chosen for its score.

A score is the truth of its pipeline and the luck of the clips; the highest one tends to have had luck. Its
expected truth, given all scores, is their posterior mean by empirical Bayes, which no choice among them
biases (Efron 2011, Tweedie's formula and selection bias, JASA 106, 1602-1614). The prior, how the true scores
differ, is that of the highest likelihood (Kiefer & Wolfowitz 1956; Jiang & Zhang 2009, Annals of Statistics
37, 1647-1684), so nothing is assumed of its shape. Luck that pipelines share, such as easy clips, flatters
none of them: only what sets a score apart from its rivals is corrected. Its variance is that of the
infinitesimal jackknife (Jaeckel 1972) over speakers or clips: a bootstrap's is a tenth too large for 100.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.evaluation.formulas import Confusion, confusion_of, log_likelihoods
from marsbench.evaluation.metrics import METRICS, RANKED_BY, maximised, objective_score
from marsbench.evaluation.predictions import Decisions, Predictions
from marsbench.evaluation.scoring import sums_by_cluster, ways_to_draw

_STEPS, _GRID = 200, 400
"""Number of steps of expectation maximisation, and of values that a true score may have."""
_LEAST = 1e-12
"""Least variance: equal predictions have the same luck."""
_FINE = 1000
"""A cluster's weight changes by one part in so many: the step of a derivative."""
_BLOCK = 1000
"""Clusters at a time: bounds memory."""
_Rows = NDArray[np.float64]
_Part = Predictions | Decisions


def bias_of_best(contenders: Sequence[Sequence[_Part]]) -> float:
    """Expected excess of the best contender's score, by `RANKED_BY`, over its truth; never negative.

    Args:
        contenders: each configuration's predictions, one for each of its seeds; all of the same clips in the
            same order.
    """
    scores = _scores(contenders, RANKED_BY)
    moved = [_influences(contenders, RANKED_BY, way) for way in _ways(contenders[0])]
    return max(_luck(scores, influences, int(scores.argmax())) for influences in moved)


def bias_of_chosen(
    inner: Sequence[Sequence[Predictions]],
    outer: Mapping[int, Predictions],
    winner: int,
    objective: str,
) -> float:
    """Expected excess of a score, by `RANKED_BY`, of a candidate that was chosen by other scores.

    Both kinds of scores share clips, and so luck: as much of the luck in the scores that were chosen by is in
    those of the test clips as their covariance tells.

    Args:
        inner: predictions that each candidate was chosen by, of the same parts of the corpus; its score is
            the mean over these.
        outer: out-of-fold predictions of the candidates that have some, by position in `inner`.
        winner: the candidate that was chosen, one of `outer`.
        objective: the metric that it was chosen by.
    """
    everything = [*inner[0], outer[winner]]
    scores, there = _scores(inner, objective), list(outer)
    biases = []
    for way in _ways(everything):
        chosen_by = _influences(inner, objective, way)
        tested = _influences([[outer[position]] for position in there], RANKED_BY, way)
        shared = _share(_apart(chosen_by[there]), _apart(tested))
        biases.append(shared * _luck(scores, chosen_by, winner))
    return max(biases)


def _scores(contenders: Sequence[Sequence[_Part]], metric: str) -> _Rows:
    """Mean score of each contender's predictions, (n_contenders,)."""
    return np.array([np.mean([_score(part, metric) for part in parts]) for parts in contenders])


def _score(part: _Part, metric: str) -> float:
    if isinstance(part, Predictions):
        return objective_score(metric, part.probabilities, part.targets)
    matrix = confusion_of(part.targets, part.predicted, part.n_classes)
    return maximised(metric, float(METRICS[metric].of(matrix)))


def _ways(parts: Sequence[_Part]) -> list[dict[str, int]]:
    """Speaker or clip, by number, of each clip in any of the parts, by each way of drawing."""
    speakers = {clip: name for part in parts for clip, name in zip(part.clips, part.speakers, strict=True)}
    ways = ways_to_draw(list(speakers.values()))
    return [dict(zip(speakers, cluster_of.tolist(), strict=True)) for cluster_of in ways]


def _influences(contenders: Sequence[Sequence[_Part]], metric: str, way: Mapping[str, int]) -> _Rows:
    """Derivatives of each mean score by the weight of each cluster, (n_contenders, n_clusters)."""
    n_clusters = max(way.values()) + 1
    found = np.zeros((len(contenders), n_clusters))
    clips: tuple[str, ...] | None = None
    for row, parts in zip(found, contenders, strict=True):
        for part in parts:
            if part.clips is not clips:
                clips, cluster_of = part.clips, np.array([way[clip] for clip in part.clips])
            if isinstance(part, Predictions) and METRICS[metric].from_confusion is None:
                moved = _derivatives_of_loss(part, cluster_of, metric)
            else:
                moved = _derivatives(part, cluster_of, metric)
            row[: len(moved)] += moved / len(parts)
    return found


def _derivatives_of_loss(part: Predictions, cluster_of: NDArray[np.int64], metric: str) -> _Rows:
    """Derivatives of exp(-log loss) by each cluster's weight, (n_clusters,)."""
    losses = -log_likelihoods(part.targets, part.probabilities)
    by_clip = (losses.mean() - losses) / len(losses) * maximised(metric, float(losses.mean()))
    return np.asarray(np.bincount(cluster_of, weights=by_clip), np.float64)


def _derivatives(part: _Part, cluster_of: NDArray[np.int64], metric: str) -> _Rows:
    """Derivatives of a score of the confusion matrix by each cluster's weight, (n_clusters,)."""
    by_cluster = sums_by_cluster(part, cluster_of)
    corpus, found = _FINE * by_cluster.sum(axis=0), []
    for start in range(0, by_cluster.shape[0], _BLOCK):
        block = by_cluster[start : start + _BLOCK].toarray()
        both = (corpus + sign * block for sign in (1, -1))
        more, less = (METRICS[metric].of(Confusion(one.reshape(len(one), 3, -1))) for one in both)
        found.append((more - less) * _FINE / 2)
    return np.concatenate(found)


def _apart(influences: _Rows) -> _Rows:
    """Without what all contenders share; of a single one everything."""
    return influences - influences.mean(axis=0) if len(influences) > 1 else influences


def _variances(scores: _Rows, influences: _Rows) -> _Rows:
    """Variance of the luck that sets each score apart from its rivals, (n_contenders,).

    It is half that of the difference from another score, mean over all others; those count most that differ
    by little beside the luck in the difference, since what is far behind tells nothing of who could have won.
    """
    n_clusters = influences.shape[1]
    own = (influences**2).sum(axis=1)
    of_difference = np.maximum(own[:, None] + own - 2 * influences @ influences.T, 0)
    of_difference *= n_clusters / max(1, n_clusters - 1)
    distance = (scores[:, None] - scores) ** 2 / (2 * np.maximum(of_difference, _LEAST))
    np.fill_diagonal(distance, np.inf)
    nearness = np.exp(distance.min(axis=1, keepdims=True) - distance)
    return np.asarray((nearness * of_difference).sum(axis=1) / nearness.sum(axis=1) / 2)


def _share(chosen_by: _Rows, tested: _Rows) -> float:
    """How much of the luck in some scores is in others, from 0 to 1; both (n_contenders, n_clusters)."""
    total, both = float((chosen_by**2).sum()), float((chosen_by * tested).sum())
    return min(1.0, max(0.0, both / total)) if total else 0.0


def _luck(scores: _Rows, influences: _Rows, position: int) -> float:
    """One of the scores minus the posterior mean of its truth; never negative."""
    if np.ptp(scores) == 0:
        return 0.0
    variances = np.maximum(_variances(scores, influences), _LEAST)
    truths = np.linspace(scores.min(), scores.max(), _GRID)
    log_likelihood = -((scores[:, None] - truths) ** 2) / (2 * variances[:, None])
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    prior = np.full(_GRID, 1 / _GRID)
    for _ in range(_STEPS):
        prior = (likelihood * prior / (likelihood @ prior)[:, None]).mean(axis=0)
    posterior = likelihood[position] * prior
    return max(0.0, float(scores[position] - posterior @ truths / posterior.sum()))
