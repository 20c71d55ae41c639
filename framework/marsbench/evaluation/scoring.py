"""From out-of-fold probabilities to metrics with their intervals."""

from collections.abc import Sequence

import numpy as np

from marsbench.config import Criteria
from marsbench.evaluation.calibration import calibration_error, log_loss, reliability
from marsbench.evaluation.intervals import Draws, resample, wilson_floor
from marsbench.evaluation.metrics import Confusion, confusion
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import ClassScores, FoldScores, Metrics


def odds_of(draws: Draws, criteria: Criteria, labels: Sequence[str]) -> tuple[dict[str, float], float]:
    """Share of resampled corpora that exceed each criterion's threshold, by its name, and all of them."""
    exceeded = {
        "accuracy": draws.exceeds("accuracy", criteria.accuracy),
        "macro_f1": draws.exceeds("macro_f1", criteria.macro_f1),
    }
    for index, label in enumerate(labels):
        exceeded[f"class_recall {label}"] = draws.exceeds("recall", criteria.class_recall, index)
    odds = {criterion: float(draws_above.mean()) for criterion, draws_above in exceeded.items()}
    return odds, float(np.logical_and.reduce(list(exceeded.values())).mean())


def score_predictions(predictions: Predictions, draws: Draws | None = None) -> Metrics:
    """Score the pooled predictions, with intervals, and each fold; `draws` are those of `resample`."""
    pooled = confusion(predictions.targets, predictions.probabilities)
    draws = draws or resample(predictions)
    n_clips = len(predictions.targets)
    return Metrics(
        accuracy=wilson_floor(draws.interval(float(pooled.accuracy), "accuracy"), n_clips),
        macro_f1=draws.interval(float(pooled.macro_f1), "macro_f1"),
        uar=draws.interval(float(pooled.uar), "uar"),
        classes=_by_class(pooled, draws, predictions.labels),
        confusion=pooled.counts.tolist(),
        folds=[_fold_scores(predictions.of_fold(fold), int(fold)) for fold in np.unique(predictions.folds)],
        log_loss=log_loss(predictions.targets, predictions.probabilities),
        calibration_error=calibration_error(reliability(predictions.targets, predictions.probabilities)),
    )


def _by_class(pooled: Confusion, draws: Draws, labels: Sequence[str]) -> list[ClassScores]:
    n_clips = pooled.counts.sum(axis=1)
    return [
        ClassScores(
            label=label,
            n_clips=int(n_clips[index]),
            recall=wilson_floor(
                draws.interval(float(pooled.recall[index]), "recall", index), int(n_clips[index])
            ),
            precision=float(pooled.precision[index]),
            f1=float(pooled.f1[index]),
        )
        for index, label in enumerate(labels)
    ]


def _fold_scores(predictions: Predictions, fold: int) -> FoldScores:
    matrix = confusion(predictions.targets, predictions.probabilities)
    return FoldScores(
        fold=fold,
        n_clips=len(predictions.clips),
        accuracy=float(matrix.accuracy),
        macro_f1=float(matrix.macro_f1),
        uar=float(matrix.uar),
    )
