"""Pipelines that a search looks at, and what is known of each."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from marsbench.automl.record import HeldOut, Looked
from marsbench.evaluation.objective import objective_score
from marsbench.planning import Pipeline
from marsbench.runner.units import Units
from marsbench.runner.weighing import InnerPredictions


@dataclass
class Candidate:
    """A pipeline, untuned, while it is looked at."""

    pipeline: Pipeline
    units: Units
    looked: Looked

    @property
    def name(self) -> str:
        """As screens show it."""
        return self.pipeline.name

    def note(self, **changes: object) -> None:
        """Something more is known of it."""
        self.looked = self.looked.model_copy(update=changes)

    @property
    def goes_on(self) -> bool:
        """Whether nothing speaks against it so far."""
        return not self.looked.reason

    @property
    def score(self) -> float:
        """The latest, -1 without one."""
        return -1.0 if self.looked.score is None else self.looked.score


class Contender(NamedTuple):
    """A pipeline, tuned or not, with what it says of clips inside each fold's training part."""

    candidate: Candidate
    inner: tuple[InnerPredictions, ...]
    """One for each fold."""
    objective: str

    @property
    def name(self) -> str:
        """Of its pipeline."""
        return self.candidate.name

    @property
    def score(self) -> float:
        """Mean over folds."""
        scores = [objective_score(self.objective, one.probabilities, one.targets) for one in self.inner]
        return float(np.mean(scores))

    @property
    def seconds(self) -> float:
        """That one fold's fit took, on average."""
        return float(
            np.mean([fit.fit_seconds + fit.predict_seconds for one in self.inner for fit in one.fits])
        )

    @property
    def record(self) -> HeldOut:
        """What is kept of it."""
        pipeline = self.candidate.pipeline
        return HeldOut(
            features=pipeline.features.name,
            model=pipeline.model.name,
            score=self.score,
            seconds=self.seconds,
        )
