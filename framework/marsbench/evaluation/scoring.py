"""From out-of-fold probabilities to metrics with their intervals."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from marsbench.config import Criteria
from marsbench.evaluation.confusion import Confusion, Rates, confusion
from marsbench.evaluation.intervals import Draws, resample, wilson_floor
from marsbench.evaluation.metrics import METRICS, Metric
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import GRADED, ClassScores, FoldScores, Metrics, Scores


def odds_of(draws: Draws, criteria: Criteria, labels: Sequence[str]) -> tuple[dict[str, float], float]:
    """Share of resampled corpora that exceed each criterion's threshold, by its name, and all of them."""
    exceeded = {name: draws.exceeds(METRICS[name].of, getattr(criteria, name)) for name in GRADED}
    for index, label in enumerate(labels):
        exceeded[f"class_recall {label}"] = draws.exceeds(_recall, criteria.class_recall, index)
    odds = {criterion: float(draws_above.mean()) for criterion, draws_above in exceeded.items()}
    return odds, float(np.logical_and.reduce(list(exceeded.values())).mean())


def score_predictions(predictions: Predictions, draws: Draws | None = None) -> Metrics:
    """Every metric of the pooled predictions, with intervals, and of each fold.

    Args:
        predictions: out-of-fold.
        draws: those of `resample`, if they are there already.
    """
    pooled = confusion(predictions.targets, predictions.probabilities)
    draws = draws or resample(predictions)
    scores: dict[str, Any] = {**scores_of(predictions, METRICS.values(), draws)}
    return Metrics(
        classes=_by_class(pooled, draws, predictions.labels),
        confusion=pooled.counts.tolist(),
        folds=[_fold_scores(predictions.of_fold(fold), int(fold)) for fold in np.unique(predictions.folds)],
        **scores,
    )


def scores_of(predictions: Predictions, metrics: Iterable[Metric], draws: Draws | None = None) -> Scores:
    """Each metric of the pooled predictions; `draws` are those of `resample`, if they are there already."""
    pooled = confusion(predictions.targets, predictions.probabilities)
    scores: Scores = {}
    for metric in metrics:
        if metric.from_confusion is None:
            scores[metric.name] = metric.value(predictions.targets, predictions.probabilities)
            continue
        draws = draws or resample(predictions)
        score = draws.interval(float(metric.of(pooled)), metric.of)
        n_clips = len(predictions.targets)
        scores[metric.name] = wilson_floor(score, n_clips) if metric.is_share_of_clips else score
    return scores


def _recall(matrix: Confusion) -> Rates:
    return matrix.recall


def _by_class(pooled: Confusion, draws: Draws, labels: Sequence[str]) -> list[ClassScores]:
    n_clips = pooled.counts.sum(axis=1)
    return [
        ClassScores(
            label=label,
            n_clips=int(n_clips[index]),
            recall=wilson_floor(
                draws.interval(float(pooled.recall[index]), _recall, index), int(n_clips[index])
            ),
            precision=float(pooled.precision[index]),
            f1=float(pooled.f1[index]),
        )
        for index, label in enumerate(labels)
    ]


def _fold_scores(predictions: Predictions, fold: int) -> FoldScores:
    matrix = confusion(predictions.targets, predictions.probabilities)
    scores: dict[str, Any] = {
        metric.name: float(metric.of(matrix)) for metric in METRICS.values() if metric.from_confusion
    }
    return FoldScores(fold=fold, n_clips=len(predictions.clips), **scores)
