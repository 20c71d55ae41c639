"""What is kept of tuning: the trials of each fold's study."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from marsbench.experiment import Objective, Tuner
from marsbench.plugin.search_space import Scalar

TrialState = Literal["complete", "pruned", "failed"]


class Trial(BaseModel):
    """One configuration, scored inside a fold's training clips."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    """From 0, which is the untuned configuration."""
    state: TrialState
    """Only complete trials, those scored on every inner fold, compete."""
    configuration: dict[str, Scalar]
    """What was proposed, by NAME.PARAMETER of the feature extractor and the model."""
    score: float | None
    """Mean over the inner folds; of a trial that was pruned, what it had come to; None if it failed."""
    steps: dict[int, float]
    """Scores on the way: by what the pruner calls a step, see `tuning.steps`."""
    seconds: float
    """Of fitting and predicting."""
    finished: str
    """UTC, ISO 8601."""
    reason: str | None = None
    """Why it was pruned or failed."""
    same_as: int | None = None
    """Earlier trial of the same configuration, whose score stands for this one's."""


class Study(BaseModel):
    """The trials of one pipeline on one fold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fold: int
    tuner: Tuner
    objective: Objective
    inner_folds: int
    space: str
    """Digest of the search space."""
    trials: list[Trial]
    ended: str | None = None
    """Why no further trial follows; None while the study goes on."""

    @property
    def best(self) -> Trial | None:
        """The complete trial of the highest score, the first of equals; None if there is none."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.score is not None]
        return max(complete, key=lambda trial: (trial.score, -trial.number), default=None)
