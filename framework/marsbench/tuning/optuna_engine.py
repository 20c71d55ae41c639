"""Optuna's study of one fold: the driver asks it for configurations, has them fitted and reports the scores.

Studies are deterministic: replaying the stored fits reproduces the proposals. The study itself is in memory.
Every trial has a sampler of its own, seeded by the trial's number, so an interrupted study continues as if it
had not stopped.

A trial is judged after every step: first the rungs of epochs on the first inner split (a model without
epochs has one), then each further inner split. After a rung the best third goes on (successive halving, Li et
al. 2020, arXiv:1810.05934). After that a trial is stopped only where it cannot reach the best one even if it
were perfect on all remaining splits. Only trials with all splits compete.

Trial 0, the untuned configuration, waits after its rungs until another trial has come as far, which then has
to beat it; if none does, it is not fitted further. It does not wait where a sampler may learn from its score.
"""

import warnings
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

import optuna

from marsbench.evaluation.fit_result import Failure
from marsbench.hashing import canonical_json, derived_seed
from marsbench.results.studies import WAITS, Study, Trial
from marsbench.tuning.engines import StudyRequest, TrialUnderWay
from marsbench.tuning.journal import STATES
from marsbench.tuning.search_space import Configuration, optuna_parameter, seeded_sampler

_REDUCTION = 3
"""One of this many trials continues after a rung."""
_STARTUP = 6
"""Trials before the sampler learns from them: given ones, then random ones; the same in every fold."""
_REPEATS = 20
"""Proposals of configurations already tried, in a row, after which the space counts as exhausted."""


def search(request: StudyRequest) -> Study | Failure:
    """Try configurations until there are as many as asked for, or the time is up."""
    return _Search(request).run()


@dataclass
class _Search:
    """A study while it runs."""

    request: StudyRequest
    done: list[Trial] = field(default_factory=list)

    def run(self) -> Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            direction="maximize",
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_REDUCTION),
        )
        ended: str | None = None
        while ended is None:
            ended = self._next(study)
            self.request.keep(self.request.study(self.done))
        self.request.fits.clear_checkpoints()
        return self.request.study(self.done, ended)

    def _next(self, study: optuna.Study) -> str | None:
        """Make one more trial; returns the reason if there is none."""
        if len(self.done) >= self.request.tuning.trials:
            return "all trials"
        if len(self.done) and self.request.is_late(self._longest_fit):
            return "time budget"
        if len(self.done) > _REPEATS and all(trial.same_as is not None for trial in self.done[-_REPEATS:]):
            return "search space exhausted"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a given value outside of its range
            seed = derived_seed(self.request.seed, "trial", len(self.done))
            study.sampler = seeded_sampler(seed, _STARTUP)
            asked, configuration = self._ask(study)
        trial = self._repeated(configuration) or self._tried(asked, configuration)
        self._tell(study, asked, trial)
        self.done.append(trial)
        return "time budget" if trial.reason == _TIME_IS_UP else None

    def _ask(self, study: optuna.Study) -> tuple[optuna.Trial, Configuration]:
        """A trial and its configuration: first the untuned one, then what the author would try first."""
        points: list[Configuration] = [{}, *self.request.space.starting_points]
        given = self.request.space.completed(points[len(self.done)]) if len(self.done) < len(points) else None
        if given is not None:
            codes = [optuna_parameter(dimension) for dimension in self.request.space.active(given)]
            study.enqueue_trial({code.name: code.encode(given[code.dimension.name]) for code in codes})
        trial = study.ask()
        values: Configuration = {}
        for dimension in self.request.space.dimensions:
            if dimension.name not in values and dimension in self.request.space.active(values):
                code = optuna_parameter(dimension)
                answer = code.decode(code.suggested(trial))
                values[dimension.name] = answer if given is None else given[dimension.name]
        return trial, values

    def _repeated(self, configuration: Configuration) -> Trial | None:
        """The trial that an earlier one of the same configuration stands for."""
        text = canonical_json(configuration)
        for earlier in self.done:
            if canonical_json(earlier.configuration) == text and earlier.same_as is None:
                return earlier.repeated(len(self.done))
        return None

    def _tried(self, asked: optuna.Trial, configuration: Configuration) -> Trial:
        """Score a configuration step by step."""
        trial = TrialUnderWay(len(self.done), configuration)
        schedule = self._schedule()
        for position, step in enumerate(schedule):
            if ended := self._fit(trial, position, step):
                return ended
            asked.report(trial.steps[_REDUCTION**position], _REDUCTION**position)
            if step != schedule[-1] and (reason := self._why_stop(asked, step, trial.scores)):
                return trial.ended("pruned", trial.score, reason)
            if step == self._last_rung:
                if self._may_wait:
                    return trial.ended("pruned", trial.score, WAITS)
                self._complete_untuned()
        return trial.ended("complete", trial.score)

    def _fit(self, trial: TrialUnderWay, position: int, step: "_Step") -> Trial | None:
        """Fit a trial one step further; gives it if it ends there."""
        if trial.number and self.request.is_late(self._longest_fit * step.share(self.request.rungs)):
            return trial.ended("pruned", trial.score, _TIME_IS_UP)
        result = self.request.fits.fit(trial.configuration, step.inner, step.until, step.below)
        if isinstance(result, Failure):
            return trial.ended("failed", None, result.message)
        trial.scores[step.inner :] = [self.request.score(step.inner, result)]
        trial.add(result, _REDUCTION**position, fmean(trial.scores))
        return None

    @property
    def _may_wait(self) -> bool:
        """Whether a trial that has passed its rungs is trial 0, whose score may not be needed."""
        return not self.done and self.request.deadline is None and self.request.tuning.trials <= _STARTUP

    def _complete_untuned(self) -> None:
        """Fit trial 0 to the end if it waits: another one has come as far."""
        if self.request.study(self.done).untuned_waits:
            trial, ended = TrialUnderWay(0, self.done[0].configuration), None
            for position, step in enumerate(self._schedule()):
                ended = ended or self._fit(trial, position, step)
            self.done[0] = ended or trial.ended("complete", trial.score)

    def _schedule(self) -> list["_Step"]:
        """The rungs on the first inner split, then each other split in one go."""
        bounds = [None, *self.request.rungs[:-1], None]
        climbing = [_Step(0, until, below) for below, until in pairwise(bounds)]
        return [*climbing, *(_Step(inner, None, None) for inner in range(1, len(self.request.targets)))]

    @property
    def _last_rung(self) -> "_Step | None":
        """The last step after which only the best third goes on."""
        return next((step for step in reversed(self._schedule()[:-1]) if step.inner == 0), None)

    def _why_stop(self, asked: optuna.Trial, step: "_Step", scores: list[float]) -> str | None:
        if step.inner == 0 and asked.should_prune():
            after = f"epoch {step.until}" if step.until else "inner split 1"
            return f"not among the best third after {after}"
        best = self.request.study(self.done).best
        if step.until is None and best is not None and best.score is not None:
            most = (sum(scores) + len(self.request.targets) - len(scores)) / len(self.request.targets)
            if most < best.score:
                return f"cannot reach {best.score:.4f} any more after inner split {step.inner + 1}"
        return None

    def _tell(self, study: optuna.Study, asked: optuna.Trial, trial: Trial) -> None:
        if trial.same_as is not None:
            for step, score in trial.steps.items():
                asked.report(score, step)
        study.tell(asked, trial.score if trial.state == "complete" else None, STATES[trial.state])

    @property
    def _longest_fit(self) -> float:
        """Seconds of one inner fit in one go, by the trials so far."""
        seconds = [trial.seconds for trial in self.done if trial.state == "complete"]
        return max(seconds, default=0.0) / len(self.request.targets)


_TIME_IS_UP = "the time budget is spent"


class _Step(NamedTuple):
    """A fit after which a trial is judged."""

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
