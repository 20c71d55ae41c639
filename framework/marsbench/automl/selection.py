"""Pipelines of a search, their scores, and the choice of an ensemble's members."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.automl.state import HoldoutScore, ScreeningResult
from marsbench.evaluation.ensembling import Weights, fit_weights, pool
from marsbench.evaluation.metrics import objective_score
from marsbench.evaluation.predictions import stacked
from marsbench.planning import Pipeline
from marsbench.runner.ensemble_job import InnerPredictions
from marsbench.runner.pipeline_job import Units


@dataclass
class Candidate:
    """An untuned pipeline during screening."""

    pipeline: Pipeline
    units: Units
    looked: ScreeningResult

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self.pipeline.name

    def note(self, **changes: object) -> None:
        """Change fields of its screening result."""
        self.looked = self.looked.model_copy(update=changes)

    @property
    def goes_on(self) -> bool:
        """Whether it has not been dropped."""
        return not self.looked.reason

    @property
    def score(self) -> float:
        """The latest score, -1 without one."""
        return -1.0 if self.looked.score is None else self.looked.score


class Contender(NamedTuple):
    """A pipeline, tuned or not, with its predictions inside each fold's training part."""

    candidate: Candidate
    inner: tuple[InnerPredictions, ...]
    """Predictions of each fold."""
    objective: str

    @property
    def name(self) -> str:
        """Name of its pipeline."""
        return self.candidate.name

    @property
    def score(self) -> float:
        """Mean score over folds."""
        inner = [one.predictions for one in self.inner]
        return float(np.mean([objective_score(self.objective, p.probabilities, p.targets) for p in inner]))

    @property
    def seconds(self) -> float:
        """Seconds of one fold's fit and prediction, on average."""
        return float(
            np.mean([fit.fit_seconds + fit.predict_seconds for one in self.inner for fit in one.fits])
        )

    @property
    def record(self) -> HoldoutScore:
        """Its entry in the search's record."""
        pipeline = self.candidate.pipeline
        return HoldoutScore(
            features=pipeline.features.name,
            model=pipeline.model.name,
            score=self.score,
            seconds=self.seconds,
        )


MOST_MEMBERS = 5
_GAIN = 0.01
"""Share of the log loss that one more member must save: each is another model to fit, store and run."""
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
        targets = members[0].inner[fold].predictions.targets
        losses.append(-np.log(np.maximum(fused[np.arange(len(targets)), targets], _LEAST)).mean())
    return float(np.mean(losses))


def pooled_score(members: Sequence[Contender]) -> float:
    """Mean over folds of the objective, weights as in `pooled_log_loss`."""
    return fmean(
        objective_score(members[0].objective, fused, members[0].inner[fold].predictions.targets)
        for fold, fused in enumerate(_pooled(members))
    )


def _pooled(members: Sequence[Contender]) -> list[NDArray[np.float64]]:
    """Fused probabilities of each fold's clips, (n_clips, n_classes) each."""
    targets = [one.predictions.targets for one in members[0].inner]
    by_fold = zip(*(member.inner for member in members), strict=True)
    said = [stacked([one.predictions for one in of_fold]) for of_fold in by_fold]
    weights = [fit_weights(*of_fold) for of_fold in zip(said, targets, strict=True)]
    return [pool(of_fold, _of_others(weights, fold)) for fold, of_fold in enumerate(said)]


def _of_others(weights: Sequence[Weights], fold: int) -> Weights:
    others = [one for number, one in enumerate(weights) if number != fold] or list(weights)
    return np.asarray(np.mean(others, axis=0), np.float64)
