"""Engines of tuning: what finds a pipeline's best configuration inside one fold's training clips.

An engine is a module `NAME_engine.py` of this package; adding the file adds the engine. `--tuner` takes its
name, with "-" for "_". It has a function `search`, as in `Engine`, and may have `refusal`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from statistics import fmean
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Experiment, Tuning
from marsbench.errors import ConfigError
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.metrics import objective_score
from marsbench.planning.pipelines import Pipeline
from marsbench.results.studies import Study, Trial, TrialState
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.search_space import Configuration, SearchSpace


@dataclass(frozen=True)
class StudyRequest:
    """What an engine is to search in one fold, and by what means."""

    tuning: Tuning
    space: SearchSpace
    fits: CachedFits
    """Makes and keeps the fits on the inner splits of the fold's training clips."""
    targets: Sequence[NDArray[np.int64]]
    """True classes of each inner split's test rows."""
    rungs: tuple[int, ...]
    """Epochs after which a fit can be stopped and resumed; () for a model without epochs."""
    seed: int
    """Seed of the run."""
    pinned: frozenset[str]
    """The model's parameters that are set by hand, which are not in the space."""
    is_late: Callable[[float], bool]
    """Whether something that takes so many seconds should not begin any more."""
    deadline: float | None
    """`time.time()` after which no trial should begin; None for never."""
    workers_see_folder: bool
    """Whether a task can write into the folder of `fits`."""
    keep: Callable[[Study], None]
    """To be called with the study after each trial."""

    def study(self, trials: Sequence[Trial], ended: str | None = None) -> Study:
        """The record of trials; `ended` says why no further one follows."""
        return Study(
            fold=self.fits.fold,
            tuner=self.tuning.tuner,
            objective=self.tuning.objective,
            inner_folds=len(self.targets),
            space=self.space.key,
            trials=list(trials),
            ended=ended,
        )

    def score(self, inner: int, result: UnitResult) -> float:
        """Score of a fit on an inner split."""
        return objective_score(self.tuning.objective, result.probabilities, self.targets[inner])


@dataclass
class TrialUnderWay:
    """A configuration while it is scored, fit by fit."""

    number: int
    configuration: Configuration
    steps: dict[int, float] = field(default_factory=dict)
    fits: list[UnitResult] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """By inner split."""

    @property
    def score(self) -> float | None:
        """Mean over the inner splits so far."""
        return fmean(self.scores) if self.scores else None

    def add(self, fit: UnitResult, step: int, score: float) -> None:
        """Add a fit, and the score that the trial has after it."""
        self.fits.append(fit)
        self.steps[step] = score

    def ended(self, state: TrialState, score: float | None, reason: str | None = None) -> Trial:
        """The trial: when it finished is when its last fit did, however often its fits are read again."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return Trial(
            number=self.number,
            state=state,
            configuration=self.configuration,
            score=score,
            steps=self.steps,
            seconds=sum(fit.fit_seconds + fit.predict_seconds for fit in self.fits),
            finished=max((fit.finished for fit in self.fits), default=now),
            reason=reason,
        )


class Engine(Protocol):
    """What the module of an engine has. It may also have `refusal`, see `require_tunable`."""

    def search(self, request: StudyRequest) -> Study | Failure:
        """Try configurations; trial 0 is the untuned one. The same request gives the same trials."""


def load_engine(name: str) -> Engine:
    """The engine of that name, one of `config.tuner_names`."""
    return cast("Engine", import_module(f"{__package__}.{name.replace('-', '_')}_engine"))


def require_tunable(experiment: Experiment, pipeline: Pipeline) -> None:
    """Raise ConfigError with what the engine's `refusal(pipeline)` gives, unless that is None."""
    refusal = getattr(load_engine(experiment.tuner), "refusal", None)
    if experiment.trials != 0 and refusal and (reason := refusal(pipeline)):
        raise ConfigError(reason)
