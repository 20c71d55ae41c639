"""Optuna's study of one fold: it asks, the driver fits, it is told.

The study lives in memory and is a function of what the fits came to. Every trial has a sampler of its own,
seeded by the trial's number: so a study that is gone through again, its fits read from files, proposes what
it proposed before and goes on as if it had never stopped.

A trial is looked at after every step: first the rungs of epochs on the first inner split (a model without
epochs has one), then each further inner split. After a rung the best third goes on (successive halving, Li et
al. 2020, arXiv:1810.05934). After that a trial is stopped only where it cannot reach the best one even if it
were perfect on all remaining splits. Only trials with all splits compete.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from marsbench.config import Tuning
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.metrics import objective_score
from marsbench.hashing import canonical_json, derived_seed
from marsbench.results.studies import Study, Trial
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.journal import STATES
from marsbench.tuning.search_space import Configuration, SearchSpace, optuna_parameter, seeded_sampler

_REDUCTION = 3
"""One of so many trials goes on from a rung."""
_STARTUP = 6
"""Trials before the sampler learns from them: given ones, then random ones; the same in every fold."""
_REPEATS = 20
"""Proposals of configurations already tried, in a row, after which the space counts as exhausted."""


@dataclass
class OptunaStudy:
    """Trials of one pipeline on one fold."""

    tuning: Tuning
    space: SearchSpace
    fits: CachedFits
    targets: Sequence[NDArray[np.int64]]
    """True classes of each inner split's test rows."""
    rungs: tuple[int, ...]
    seed: int
    time_is_up: Callable[[float], bool]
    """Whether something that takes so many seconds should not begin any more."""
    keep: Callable[[Study], None]
    """Called after each trial."""
    done: list[Trial] = field(default_factory=list)

    def run(self) -> Study:
        """Try configurations until there are as many as asked for; returns the finished study."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            direction="maximize",
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_REDUCTION),
        )
        ended: str | None = None
        while ended is None:
            ended = self._next(study)
            self.keep(self._record(None))
        self.fits.clear_checkpoints()
        return self._record(ended)

    def _next(self, study: optuna.Study) -> str | None:
        """One more trial; returns why there is none."""
        if len(self.done) >= self.tuning.trials:
            return "all trials"
        if len(self.done) and self.time_is_up(self._longest_fit):
            return "time budget"
        if len(self.done) > _REPEATS and all(trial.same_as is not None for trial in self.done[-_REPEATS:]):
            return "search space exhausted"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a given value outside of its range
            seed = derived_seed(self.seed, "trial", len(self.done))
            study.sampler = seeded_sampler(seed, _STARTUP)
            asked, configuration = self._ask(study)
        trial = self._repeated(configuration) or self._tried(asked, configuration)
        self._tell(study, asked, trial)
        self.done.append(trial)
        return "time budget" if trial.reason == _TIME_IS_UP else None

    def _ask(self, study: optuna.Study) -> tuple[optuna.Trial, Configuration]:
        """A trial and its configuration: first the untuned one, then what the author would try first."""
        points: list[Configuration] = [{}, *self.space.starting_points]
        given = self.space.completed(points[len(self.done)]) if len(self.done) < len(points) else None
        if given is not None:
            codes = [optuna_parameter(dimension) for dimension in self.space.active(given)]
            study.enqueue_trial({code.name: code.encode(given[code.dimension.name]) for code in codes})
        trial = study.ask()
        values: Configuration = {}
        for dimension in self.space.dimensions:
            if dimension.name not in values and dimension in self.space.active(values):
                code = optuna_parameter(dimension)
                answer = code.decode(code.suggested(trial))
                values[dimension.name] = answer if given is None else given[dimension.name]
        return trial, values

    def _repeated(self, configuration: Configuration) -> Trial | None:
        """The trial that an earlier one of the same configuration stands for."""
        text = canonical_json(configuration)
        for earlier in self.done:
            if canonical_json(earlier.configuration) == text and earlier.same_as is None:
                changes = {"number": len(self.done), "same_as": earlier.number, "seconds": 0.0}
                return earlier.model_copy(update=changes)
        return None

    def _tried(self, asked: optuna.Trial, configuration: Configuration) -> Trial:
        """Score a configuration step by step."""
        scores: list[float] = []
        steps: dict[int, float] = {}
        seconds = 0.0

        def ended(state: Any, score: float | None, reason: str | None = None) -> Trial:
            return Trial(
                number=len(self.done),
                state=state,
                configuration=configuration,
                score=score,
                steps=steps,
                seconds=seconds,
                finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
                reason=reason,
            )

        for position, step in enumerate(schedule := self._schedule()):
            if self.done and self.time_is_up(self._longest_fit * step.share(self.rungs)):
                return ended("pruned", fmean(scores) if scores else None, _TIME_IS_UP)
            result = self.fits.fit(configuration, step.inner, step.until, step.below)
            if isinstance(result, Failure):
                return ended("failed", None, result.message)
            seconds += result.fit_seconds + result.predict_seconds
            scores = [*scores[: step.inner], self._score(step.inner, result)]
            steps[_REDUCTION**position] = fmean(scores)
            asked.report(fmean(scores), _REDUCTION**position)
            if step != schedule[-1] and (reason := self._why_stop(asked, step, scores)):
                return ended("pruned", fmean(scores), reason)
        return ended("complete", fmean(scores))

    def _schedule(self) -> list["_Step"]:
        """The rungs on the first inner split, then each other split in one go."""
        bounds = [None, *self.rungs[:-1], None]
        climbing = [_Step(0, until, below) for below, until in pairwise(bounds)]
        return [*climbing, *(_Step(inner, None, None) for inner in range(1, len(self.targets)))]

    def _why_stop(self, asked: optuna.Trial, step: "_Step", scores: list[float]) -> str | None:
        if step.inner == 0 and asked.should_prune():
            after = f"epoch {step.until}" if step.until else "inner split 1"
            return f"not among the best third after {after}"
        best = self._record(None).best
        if step.until is None and best is not None and best.score is not None:
            most = (sum(scores) + len(self.targets) - len(scores)) / len(self.targets)
            if most < best.score:
                return f"cannot reach {best.score:.4f} any more after inner split {step.inner + 1}"
        return None

    def _score(self, inner: int, result: UnitResult) -> float:
        return objective_score(self.tuning.objective, result.probabilities, self.targets[inner])

    def _tell(self, study: optuna.Study, asked: optuna.Trial, trial: Trial) -> None:
        if trial.same_as is not None:
            for step, score in trial.steps.items():
                asked.report(score, step)
        study.tell(asked, trial.score if trial.state == "complete" else None, STATES[trial.state])

    def _record(self, ended: str | None) -> Study:
        return Study(
            fold=self.fits.fold,
            tuner=self.tuning.tuner,
            objective=self.tuning.objective,
            inner_folds=len(self.targets),
            space=self.space.key,
            trials=self.done,
            ended=ended,
        )

    @property
    def _longest_fit(self) -> float:
        """Seconds of one inner fit in one go, by the trials so far."""
        complete = [trial.seconds / len(self.targets) for trial in self.done if trial.state == "complete"]
        return max(complete, default=0.0)


_TIME_IS_UP = "the time budget is spent"


class _Step(NamedTuple):
    """What a trial is looked at after."""

    inner: int
    """Number of the inner split."""
    until: int | None
    """Epoch fitted to; None to the end."""
    below: int | None
    """Epoch that the step before came to on the same split."""

    def share(self, rungs: tuple[int, ...]) -> float:
        """Part of a whole fit that it takes."""
        last = rungs[-1] if rungs else 1
        return ((self.until or last) - (self.below or 0)) / last
