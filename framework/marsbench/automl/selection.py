"""Pipelines of a search: what `search.json` keeps of them, and the choice of an ensemble's members."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from marsbench.evaluation.ensembling import fit_weights, pool
from marsbench.evaluation.metrics import objective_score
from marsbench.evaluation.predictions import Predictions, joined, stacked
from marsbench.evaluation.scores import ChosenScore, Metrics
from marsbench.planning.pipelines import Pipeline
from marsbench.protocols.splitting import groups_of
from marsbench.runner.ensemble_job import InnerPredictions
from marsbench.runner.pipeline_job import Units
from marsbench.tuning.tuned_or_untuned import Gain, paired_gain

_SHORT_COURSE = 10
"""Epochs."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Pipeline(_Record):
    features: str
    model: str
    options: str = ""
    """`Pipeline.options`."""

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return f"{self.features} + {self.model}{self.options}"


class ScreeningResult(_Pipeline):
    """Screening of one pipeline: its score on one hold-out inside the first fold's training clips."""

    score: float | None = None
    """Value of the objective; None if there is no fit."""
    epochs: int | None = None
    """Epochs that it was fitted for; None for a model without epochs."""
    seconds: float = 0.0
    """Seconds of its fits."""
    reason: str = ""
    """Why it was dropped; "" for one of the shortlist."""
    failure: str = ""
    """`Failure.kind` if a fit failed; "" for one that was dropped for another reason, or not at all."""


class HoldoutScore(_Pipeline):
    """Mean score of one pipeline on hold-outs inside each fold's training clips."""

    score: float
    seconds: float
    """Seconds of one fold's fit and prediction, on average."""


class Winner(_Record):
    """The run that is exported."""

    run_id: str
    score: float
    """Its inner score; no test clip is in it."""
    chosen: ChosenScore | None = None
    """Its score on the test clips, corrected for having been chosen; None if there was nothing to choose."""


class HeldOutScore(_Record):
    """The winner's predictions of clips that no step of the search saw."""

    run_id: str
    speakers: list[str]
    clips: list[str]
    metrics: Metrics


class SearchRecord(_Record):
    """Decisions of a search in their order, from which a rerun resumes; None for those still to be made."""

    schema_version: Literal[1] = 1
    asked: dict[str, Any]
    command: str = ""
    """The shell command that resumes it; "" in older records."""
    looked: list[ScreeningResult] | None = None
    held_out: list[HoldoutScore] | None = None
    finalists: list[str] | None = None
    """Names of the pipelines that became runs."""
    trials: dict[str, float] = {}
    """Seconds for the trials of finalists, by name; 0 where there was no time for them."""
    members: list[str] | None = None
    """Names of the pipelines of the ensemble; a single one for none."""
    winner: Winner | None = None
    not_exported: dict[str, str] = {}
    """Why runs that would have won cannot be exported, by run id, the best first."""
    final: HeldOutScore | None = None
    """None until the winner's bundle has predicted the clips that were held out, if any were."""


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

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which it is compared with others, ascending; a short course is at its end alone.

        That is often one cycle of the learning rate, whose first epochs tell little.
        """
        rungs = self.pipeline.rungs
        return rungs[-1:] if rungs and rungs[-1] <= _SHORT_COURSE else rungs

    def note(self, **changes: object) -> None:
        """Change fields of the screening result."""
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
    def predictions(self) -> list[Predictions]:
        """Inside each fold's training part."""
        return [one.predictions for one in self.inner]

    @property
    def score(self) -> float:
        """Mean score over folds."""
        return mean_score(self.objective, self.predictions)

    @property
    def seconds(self) -> float:
        """Seconds of one fold's fit and prediction, on average."""
        fits = [fit for one in self.inner for fit in one.fits]
        return float(np.mean([fit.fit_seconds + fit.predict_seconds for fit in fits]))

    def first(self, n_folds: int) -> "Contender":
        """With the predictions of the first folds alone."""
        return self._replace(inner=self.inner[:n_folds])

    @property
    def record(self) -> HoldoutScore:
        """Its entry in the search's record."""
        names = self.candidate.looked.model_dump(include={"features", "model", "options"})
        return HoldoutScore(**names, score=self.score, seconds=self.seconds)


def gain_of(one: Contender, other: Contender) -> Gain:
    """By how much one is better than the other, clip by clip of the first folds that both have predicted."""
    units = one.candidate.units
    n_folds = min(len(one.inner), len(other.inner))
    better, worse = (joined(contender.first(n_folds).predictions) for contender in (one, other))
    row_of = {clip.id: row for row, clip in enumerate(units.corpus.clips)}
    rows = np.array([row_of[clip] for clip in better.clips], np.int64)
    return paired_gain(better, worse, one.objective, groups_of(units.corpus, rows, units.together))


def mean_score(objective: str, folds: Sequence[Predictions]) -> float:
    """Mean over folds of the objective."""
    return fmean(objective_score(objective, one.probabilities, one.targets) for one in folds)


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


def improves_pool(one: Contender, others: Sequence[Contender]) -> bool:
    """Whether one more contender would lower the log loss of the best members of the others enough."""
    members = best_members([other.first(len(one.inner)) for other in others])
    return pooled_log_loss([*members, one]) <= (1 - _GAIN) * pooled_log_loss(members)


def pooled_log_loss(members: Sequence[Contender]) -> float:
    """Mean over folds; each fold's clips meet the mean of the weights that the other folds fitted."""
    losses = []
    for fold, fused in enumerate(_pooled(members)):
        targets = members[0].inner[fold].predictions.targets
        losses.append(-np.log(np.maximum(fused[np.arange(len(targets)), targets], _LEAST)).mean())
    return float(np.mean(losses))


def pooled_contender(members: Sequence[Contender]) -> Contender:
    """The ensemble's predictions inside each fold's training part, by weights as in `pooled_log_loss`."""
    first = members[0]
    pooled = [
        one.with_probabilities(fused) for one, fused in zip(first.predictions, _pooled(members), strict=True)
    ]
    return first._replace(inner=tuple(InnerPredictions(one, ()) for one in pooled))


def _pooled(members: Sequence[Contender]) -> list[NDArray[np.float64]]:
    """Fused probabilities of each fold's clips, (n_clips, n_classes) each."""
    targets = [one.predictions.targets for one in members[0].inner]
    by_fold = zip(*(member.inner for member in members), strict=True)
    said = [stacked([one.predictions for one in of_fold]) for of_fold in by_fold]
    weights = [fit_weights(*of_fold) for of_fold in zip(said, targets, strict=True)]
    fused = []
    for fold, of_fold in enumerate(said):
        others = [one for number, one in enumerate(weights) if number != fold] or weights
        fused.append(pool(of_fold, np.asarray(np.mean(others, axis=0), np.float64)))
    return fused
