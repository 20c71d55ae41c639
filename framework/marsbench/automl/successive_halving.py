"""Screening: successive halving of pipelines (Jamieson & Talwalkar 2016, arXiv:1502.07943).

Every pipeline is fitted on one hold-out inside the first fold's training part. Models with epochs compete
among themselves, since scores after a few epochs cannot be compared with those of other models: after each
rung of epochs the best third continues. The remaining pipelines are scored on a hold-out of every fold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

from marsbench.automl.selection import Candidate, Contender
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import objective_score
from marsbench.execution.base import Outcome, Task
from marsbench.execution.limits import Clock
from marsbench.execution.scheduler import Function
from marsbench.features.store import FeatureFile
from marsbench.planning import Plan
from marsbench.plugin.registry import Recipe
from marsbench.progress import Advance
from marsbench.results.studies import StudyFolder
from marsbench.runner.ensemble_job import HoldoutPredictions, InnerPredictions
from marsbench.runner.resources import Resources
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.search_space import Configuration

_REDUCTION = 3
_LEAST_LEFT = 4
"""Least number of pipelines without epochs that screening keeps."""
_FIRST_LOOKS, _RUNGS, _HOLD_OUTS = 0.25, 0.35, 0.5
"""Shares of the time after which no first fit, no further rung, no hold-out of every fold begins."""
NO_TIME = "no time left for it"


@dataclass
class Screening:
    """Scores candidates inside training parts; fits are stored in `folder` and not repeated.

    However little time there is, one candidate is screened, and the best one gets its hold-outs.
    """

    plan: Plan
    objective: str
    place: Resources
    folder: StudyFolder
    clock: Clock
    has_looked: bool = False
    """Whether the fit of a candidate has begun."""

    def look(self, candidates: Sequence[Candidate]) -> None:
        """Fit each candidate, note its score, and drop most of them with a reason."""
        self.place.scheduler.run([partial(self._extract, candidates)])
        in_one_go = [one for one in candidates if not one.pipeline.rungs]
        with self.place.progress.track("First look, pipelines", len(candidates)) as advance:
            self._rung(in_one_go, None, None, _FIRST_LOOKS, advance)
            by_epochs = _promising_first([one for one in candidates if one.pipeline.rungs], in_one_go)
            for until in sorted({one.pipeline.rungs[0] for one in by_epochs}):
                here = [one for one in by_epochs if one.pipeline.rungs[0] == until]
                self._rung(here, until, None, _FIRST_LOOKS, advance)
        _keep_best(in_one_go, max(_LEAST_LEFT, ceil(len(in_one_go) / _REDUCTION)))
        self._climb(by_epochs)

    def hold_out(self, candidates: Sequence[Candidate], *, in_any_time: bool = False) -> list[Contender]:
        """Predictions of the remaining candidates on a hold-out inside every fold's training part.

        Candidates for which there is no time are left out, unless `in_any_time`.
        """
        shortlist = sorted((one for one in candidates if one.goes_on), key=lambda one: -one.score)
        untuned: list[Configuration] = [{} for _ in self.plan.protocol.folds]
        held_out: dict[str, Contender] = {}

        def in_time(advance: Advance) -> Iterator[Function]:
            for position, candidate in enumerate(shortlist):
                if not position or in_any_time or self._has_time_to_hold_out(candidate):
                    yield partial(self._hold_out, candidate, untuned, held_out, advance)
                else:
                    candidate.note(reason=NO_TIME)

        n_fits = len(shortlist) * len(untuned)
        with self.place.progress.track("Hold-outs of every fold", n_fits) as advance:
            self.place.scheduler.run(in_time(advance))
        return [held_out[one.name] for one in shortlist if one.name in held_out]

    def hold_out_tuned(self, candidate: Candidate, chosen: Sequence[Configuration]) -> Contender | None:
        """The same for the configuration that a tuner chose in each fold; None if a fit fails."""
        held_out: dict[str, Contender] = {}
        self.place.scheduler.run([partial(self._hold_out, candidate, chosen, held_out, lambda _steps: None)])
        return held_out.get(candidate.name)

    def _hold_out(
        self,
        candidate: Candidate,
        configurations: Sequence[Configuration],
        held_out: dict[str, Contender],
        advance: Advance,
    ) -> None:
        """Add a candidate, with its configuration of each fold, to `held_out` if no fit fails."""
        # The same fits that an ensemble's weights rest on.
        holdouts = HoldoutPredictions(self.plan.protocol.hash, 1, self.place, self.folder)
        inner: dict[int, InnerPredictions] = {}

        def predict(fold: int) -> None:
            answer = holdouts.of(candidate.units, configurations[fold], fold, self._submit)
            if isinstance(answer, Failure):
                candidate.note(reason=answer.message)
            else:
                inner[fold] = answer
            advance(1)

        folds = range(len(configurations))
        self.place.scheduler.side_by_side([partial(predict, fold) for fold in folds])
        if len(inner) == len(folds):
            in_order = tuple(inner[fold] for fold in folds)
            held_out[candidate.name] = Contender(candidate, in_order, self.objective)

    def seconds_of_folds(self, seconds: float) -> float:
        """Seconds of a fit in every fold, as many at a time as there are slots, if one takes `seconds`."""
        return seconds * ceil(len(self.plan.protocol.folds) / self.place.executor.slots)

    def _has_time_to_hold_out(self, candidate: Candidate) -> bool:
        return self.clock.reaches(_HOLD_OUTS, self.seconds_of_folds(candidate.looked.seconds))

    def _extract(self, candidates: Sequence[Candidate]) -> None:
        """Extract features; candidates whose features fail or come too late are dropped."""
        for recipe in {one.pipeline.features.key: one.pipeline.features for one in candidates}.values():
            reason = NO_TIME
            if recipe is candidates[0].pipeline.features or self.clock.reaches(_FIRST_LOOKS):
                features = self._features_by(recipe)
                reason = features.message if isinstance(features, Failure) else ""
            if reason:
                for one in candidates:
                    if one.pipeline.features.key == recipe.key:
                        one.note(reason=reason)

    def _climb(self, candidates: Sequence[Candidate]) -> None:
        """Further rungs of epochs for the best third of each."""
        _keep_best(candidates, ceil(len(candidates) / _REDUCTION))
        most = max((len(one.pipeline.rungs) for one in candidates), default=0)
        for position in range(1, most):
            climbing = [one for one in candidates if one.goes_on and len(one.pipeline.rungs) > position]
            if not climbing:
                continue
            climbing.sort(key=lambda one: -one.score)
            with self.place.progress.track(f"Rung {position + 1}, pipelines", len(climbing)) as advance:
                epochs = slice(position - 1, position + 1)
                for below, until in dict.fromkeys(one.pipeline.rungs[epochs] for one in climbing):
                    here = [one for one in climbing if one.pipeline.rungs[epochs] == (below, until)]
                    self._rung(here, until, below, _RUNGS, advance)
            if position + 1 < most:
                _keep_best(climbing, ceil(len(climbing) / _REDUCTION))
        self.folder.clear_checkpoints(0)

    def _rung(
        self,
        candidates: Sequence[Candidate],
        until: int | None,
        below: int | None,
        share: float,
        advance: Advance,
    ) -> None:
        """Fit the remaining candidates up to an epoch; those for which there is no time are dropped."""

        def looks() -> Iterator[Function]:
            for candidate in candidates:
                if not candidate.goes_on:
                    advance(1)
                elif not self.has_looked or self.clock.reaches(share):
                    self.has_looked = True
                    yield partial(self._look, candidate, until, below, advance)
                else:
                    candidate.note(reason=NO_TIME)
                    advance(1)

        self.place.scheduler.run(looks())

    def _look(self, candidate: Candidate, until: int | None, below: int | None, advance: Advance) -> None:
        """Fit one candidate up to an epoch and note its score."""
        result = self._fit(candidate, until, below)
        if isinstance(result, Failure):
            candidate.note(reason=result.message)
        else:
            score, seconds = result
            candidate.note(score=score, epochs=until, seconds=candidate.looked.seconds + seconds)
        advance(1)

    def _fit(
        self, candidate: Candidate, until: int | None, below: int | None
    ) -> tuple[float, float] | Failure:
        """Score and seconds of a fit up to an epoch on the hold-out of the first fold."""
        features = self._features_by(candidate.pipeline.features)
        if isinstance(features, Failure):
            return features
        pipeline = candidate.pipeline
        units, targets = candidate.units.inner(0, features, 1, self.objective)
        fits = CachedFits(
            name=f"{candidate.name}, first look",
            fold=0,
            units=units,
            recipe=pipeline.features,
            key=candidate.units.key(self.plan.protocol.hash, self.place.asked.threads).screening_fits,
            folder=self.folder,
            others=(),
            features_by=self._features_by,
            submit=self._submit,
            say=self.place.progress.say,
        )
        is_whole = until in pipeline.rungs[-1:]
        result = fits.fit({}, 0, None if is_whole else until, below)
        if isinstance(result, Failure):
            return result
        score = objective_score(self.objective, result.probabilities, targets[0])
        return score, result.fit_seconds + result.predict_seconds

    def _features_by(self, recipe: Recipe) -> FeatureFile | Failure:
        return self.place.features_of(self.plan.corpus, self.plan.folders, recipe)

    def _submit(self, task: Task) -> Outcome:
        """Outcome of a fit; the time spent is written after each."""
        outcome = self.place.submit(task)
        self.folder.write_seconds_spent(self.clock.elapsed)
        return outcome


def _promising_first(candidates: Sequence[Candidate], looked: Sequence[Candidate]) -> list[Candidate]:
    """Candidates in the order of the best score of their features so far: time may not suffice for all."""
    best: dict[str, float] = {}
    for one in looked:
        best[one.looked.features] = max(one.score, best.get(one.looked.features, -1.0))
    return sorted(candidates, key=lambda one: -best.get(one.looked.features, -1.0))


def _keep_best(candidates: Sequence[Candidate], n: int) -> None:
    """Drop all but the best `n`."""
    ranked = sorted((one for one in candidates if one.goes_on), key=lambda one: -one.score)
    for one in ranked[n:]:
        one.note(reason=f"not among the best {n}")
