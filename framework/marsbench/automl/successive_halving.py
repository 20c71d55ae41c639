"""Screening: successive halving of pipelines (Jamieson & Talwalkar 2016, arXiv:1502.07943).

Every pipeline is fitted on one hold-out inside the first fold's training part. Models with epochs compete
among themselves, since scores after a few epochs cannot be compared with those of other models: after each
rung of epochs the best third continues. The remaining pipelines are scored on a hold-out of every fold.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf
from statistics import median

from marsbench.automl.costs import Costs
from marsbench.automl.selection import Candidate, Contender, gain_of, improves_pool
from marsbench.config import Versions
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import objective_score
from marsbench.execution.base import Outcome, Task
from marsbench.execution.limits import Clock
from marsbench.execution.scheduler import Function
from marsbench.features.feature_file import FeatureFile
from marsbench.planning.plans import Plan
from marsbench.plugin.registry import Recipe
from marsbench.progress import Advance
from marsbench.results.studies import StudyFolder
from marsbench.runner.ensemble_job import HoldoutPredictions, InnerPredictions
from marsbench.runner.resources import NO_TIME, OUT_OF_TIME, Resources, extracted_key
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.search_space import Configuration

_REDUCTION = 3
_LEAST_LEFT = 4
"""Least number of pipelines without epochs that screening keeps."""
_FIRST_LOOKS, _RUNGS, _HOLD_OUTS = 0.25, 0.35, 0.5
"""Shares of the time after which no first fit, no further rung, no hold-out of every fold begins."""
_FINISH, _LEAST = 0.1, 1.0
"""Share of the time, and seconds, in which what has begun by then may finish, or it is stopped."""
TIME_LIMIT = "TimeLimit"
"""`Failure.kind` of a fit that reached its limit."""


@dataclass
class Screening:
    """Scores candidates inside training parts; fits are stored in `folder` and not repeated.

    However little time there is, candidates are fitted until one has its hold-outs of every fold.
    """

    plan: Plan
    objective: str
    place: Resources
    folder: StudyFolder
    clock: Clock
    prepared: float = 0.0
    """Seconds on the clock at which screening began: shares of the time are of what was left then."""
    costs: Costs = field(default_factory=Costs)
    ends: float = inf
    """Seconds on the clock at which fits under way are stopped, once the stage `is_safe`."""
    is_safe: bool = False
    """Whether some fit of the stage has succeeded."""
    is_unlimited: bool = False
    """Whether the limit of a single fit is lifted."""
    is_race: bool = False
    """Whether what is clearly worse on its first hold-outs, also in an ensemble, gets no others."""
    _has_looked: bool = False
    """Whether the fit of a candidate has begun."""
    _overheads: list[float] = field(default_factory=list)
    """Seconds that tasks took beside their fits, such as for the start of a process."""

    def __post_init__(self) -> None:
        self.place.unopened.longest = self._longest
        self.place.is_late = self._is_late

    def _longest(self) -> float:
        """See `Executor.longest`."""
        limit = None if self.is_unlimited else self.place.asked.unit_timeout
        left = max(_LEAST, round(self.ends - self.clock.elapsed, 1)) if self.is_safe else inf
        return min(left, limit or inf)

    def _is_late(self) -> bool:
        return self.is_safe and self.clock.elapsed > self.ends

    def end_at(self, share: float) -> None:
        """Let fits of a stage run until a share of the time and a little longer."""
        self.ends = self._seconds_at(share + _FINISH)

    def in_time(self, share: float, needed: float = 0.0) -> bool:
        """Whether something that takes `needed` seconds would end within that share of the time."""
        return self.clock.elapsed + needed <= self._seconds_at(share)

    def _seconds_at(self, share: float) -> float:
        return self.prepared + share * max(0.0, self.clock.budget - self.prepared)

    def look(self, candidates: Sequence[Candidate]) -> None:
        """Fit each candidate, note its score, and drop most of them with a reason."""
        in_one_go = [one for one in candidates if not one.rungs]
        with self.place.progress.track("First look, pipelines", len(candidates)) as advance:
            self._rung(self._cheapest_first(in_one_go), None, None, _FIRST_LOOKS, advance)
            by_epochs = [one for one in candidates if one.rungs]
            by_epochs = _promising_first(sorted(by_epochs, key=self.costs.fit), in_one_go)
            for until in sorted({one.rungs[0] for one in by_epochs}):
                here = [one for one in by_epochs if one.rungs[0] == until]
                self._rung(here, until, None, _FIRST_LOOKS, advance)
        _keep_best(in_one_go, max(_LEAST_LEFT, ceil(len(in_one_go) / _REDUCTION)))
        self._climb(by_epochs)

    def cost(self, candidate: Candidate) -> float:
        """Expected seconds of a candidate's first fit, with the extraction unless its features are there."""
        is_there = self._has_features(candidate)
        return self.costs.fit(candidate) + (0.0 if is_there else self.costs.extraction(candidate))

    def _has_features(self, candidate: Candidate) -> bool:
        pipeline = candidate.pipeline
        return extracted_key(pipeline.features, pipeline.versions) in self.place.extracted

    def _cheapest_first(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        waiting = list(candidates)
        while waiting:
            cheapest = min(waiting, key=self.cost)
            waiting.remove(cheapest)
            yield cheapest

    def hold_out(self, candidates: Sequence[Candidate], *, in_any_time: bool = False) -> list[Contender]:
        """Predictions of the remaining candidates, best first, on hold-outs in every fold's training part.

        Candidates for which there is no time are left out, unless `in_any_time`: it may be all of them.
        """
        shortlist = sorted((one for one in candidates if one.goes_on), key=lambda one: -one.score)
        untuned: list[Configuration] = [{} for _ in self.plan.protocol.folds]
        held_out: dict[str, Contender] = {}
        self.is_safe, self.is_race = False, not in_any_time
        self.end_at(1 if in_any_time else _HOLD_OUTS)

        def those_in_time(advance: Advance) -> Iterator[Function]:
            for candidate in shortlist:
                if in_any_time or self._has_time_to_hold_out(candidate):
                    yield partial(self._hold_out, candidate, untuned, held_out, advance)
                else:
                    candidate.note(reason=NO_TIME)

        n_fits = len(shortlist) * len(untuned)
        with self.place.progress.track("Hold-outs of every fold", n_fits) as advance:
            self.place.scheduler.run(those_in_time(advance))
        return [held_out[one.name] for one in shortlist if one.name in held_out]

    def late(self, candidates: Sequence[Candidate]) -> Contender | None:
        """The first of the candidates that can be fitted on all hold-outs, however late it is.

        The best come first, then those not looked at, the cheapest first. The time limit of a fit is lifted
        for those that it stopped, once the others have failed or the time is up.
        """
        alive = [one for one in candidates if not one.looked.failure]
        stopped = [one for one in candidates if one.looked.failure == TIME_LIMIT]
        alive.sort(key=lambda one: (-one.score, self.cost(one)))
        while alive and (self.clock.left > 0 or not stopped):
            candidate = alive.pop(0)
            if found := self._one_late(candidate):
                return found
            if candidate.looked.failure == TIME_LIMIT:
                stopped.append(candidate)
        if not stopped:
            return None
        self.lift_limits()
        remaining = sorted([*stopped, *alive], key=lambda one: (-one.score, self.cost(one)))
        return next(filter(None, map(self._one_late, remaining)), None)

    def lift_limits(self) -> None:
        """Let fits take as long as they need; what failed may be tried again."""
        self.place.progress.say("what would win reached the time limit of one fit: it is lifted")
        self.is_unlimited = True
        self.folder.clear_failures()
        self.place.forget_failures()

    def _one_late(self, candidate: Candidate) -> Contender | None:
        self.place.progress.say(f"{candidate.name} is tried, as no other pipeline could be fitted")
        candidate.note(reason="", failure="")
        self.is_safe = False
        untuned: list[Configuration] = [{} for _ in self.plan.protocol.folds]
        return self.hold_out_tuned(candidate, untuned)

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
                self._note(candidate, answer)
            else:
                inner[fold] = answer
            advance(1)

        n_folds, begun = len(configurations), 0
        for together in self._rounds(n_folds):
            if len(together) == 1:  # keeps its turn: which candidates have raced does not depend on threads
                predict(together[0])
            else:
                self.place.scheduler.side_by_side([partial(predict, fold) for fold in together])
            begun = together.stop
            if len(inner) < begun or (begun < n_folds and self._is_beaten(candidate, inner, held_out)):
                break
        advance(n_folds - begun)
        if len(inner) == n_folds:
            in_order = tuple(inner[fold] for fold in range(n_folds))
            held_out[candidate.name] = Contender(candidate, in_order, self.objective)
            self.is_safe = True

    def _rounds(self, n_folds: int) -> Iterator[range]:
        """The first fold alone: where it fails, the others need no try; then as many as there are slots."""
        yield range(1)
        for first in range(1, n_folds, slots := self.place.executor.slots):
            yield range(first, min(n_folds, first + slots))

    def _is_beaten(
        self, candidate: Candidate, inner: dict[int, InnerPredictions], held_out: dict[str, Contender]
    ) -> bool:
        """Whether it is clearly worse than the best so far on the first folds, and of no use beside others.

        It is noted.
        """
        if not self.is_race or not held_out:
            return False
        others = list(held_out.values())
        best = max(others, key=lambda one: one.score)
        here = Contender(candidate, tuple(inner[fold] for fold in range(len(inner))), self.objective)
        if not gain_of(best, here).is_clear or improves_pool(here, others):
            return False
        candidate.note(
            reason=f"clearly worse than {best.name} on {len(inner)} hold-out(s), also in an ensemble"
        )
        return True

    def seconds_of_folds(self, seconds: float) -> float:
        """Seconds of a fit in every fold, as many at a time as there are slots, if one takes `seconds`."""
        n_rounds = ceil(len(self.plan.protocol.folds) / self.place.executor.slots)
        return n_rounds * (seconds + self.overhead)

    @property
    def overhead(self) -> float:
        """Seconds that a task takes beside its fit, usually."""
        return median(self._overheads) if self._overheads else 0.0

    @property
    def longest_start(self) -> float:
        """Seconds that the slowest task took beside its fit, such as to import TensorFlow."""
        return max(self._overheads, default=0.0)

    def _has_time_to_hold_out(self, candidate: Candidate) -> bool:
        return self.in_time(_HOLD_OUTS, self.seconds_of_folds(candidate.looked.seconds))

    def _climb(self, candidates: Sequence[Candidate]) -> None:
        """Further rungs of epochs for the best third of each."""
        _keep_best(candidates, ceil(len(candidates) / _REDUCTION))
        most = max((len(one.rungs) for one in candidates), default=0)
        for position in range(1, most):
            climbing = [one for one in candidates if one.goes_on and len(one.rungs) > position]
            if not climbing:
                continue
            climbing.sort(key=lambda one: -one.score)
            with self.place.progress.track(f"Rung {position + 1}, pipelines", len(climbing)) as advance:
                epochs = slice(position - 1, position + 1)
                for below, until in dict.fromkeys(one.rungs[epochs] for one in climbing):
                    here = [one for one in climbing if one.rungs[epochs] == (below, until)]
                    self._rung(here, until, below, _RUNGS, advance)
            if position + 1 < most:
                _keep_best(climbing, ceil(len(climbing) / _REDUCTION))
        self.folder.clear_checkpoints(0)

    def _rung(
        self,
        candidates: Iterable[Candidate],
        until: int | None,
        below: int | None,
        share: float,
        advance: Advance,
    ) -> None:
        """Fit the remaining candidates up to an epoch; those for which there is no time are dropped."""
        self.end_at(share)

        def looks() -> Iterator[Function]:
            for candidate in candidates:
                if not candidate.goes_on:
                    advance(1)
                elif not self._has_looked or self._has_time_to_look(candidate, share):
                    self._has_looked = True
                    yield partial(self._look, candidate, until, below, advance)
                else:
                    candidate.note(reason=NO_TIME)
                    advance(1)

        self.place.scheduler.run(looks())

    def _has_time_to_look(self, candidate: Candidate, share: float) -> bool:
        """Whether a fit may begin, and the extraction before it is expected to end before it is stopped."""
        needed = 0.0 if self._has_features(candidate) else self.costs.seconds_to_extract(candidate)
        return self.in_time(share) and self.in_time(share + _FINISH, needed)

    def _look(self, candidate: Candidate, until: int | None, below: int | None, advance: Advance) -> None:
        """Fit one candidate up to an epoch and note its score."""
        result = self._fit(candidate, until, below)
        if isinstance(result, Failure):
            self._note(candidate, result)
        else:
            self.is_safe = True
            score, seconds = result
            candidate.note(score=score, epochs=until, seconds=candidate.looked.seconds + seconds)
            if below is None:
                self.costs.measured(candidate, seconds + self.overhead)
        advance(1)

    def _note(self, candidate: Candidate, failure: Failure) -> None:
        """Drop a candidate of which a fit failed, or was stopped because the stage had no more time."""
        if failure.kind == OUT_OF_TIME or (failure.kind == TIME_LIMIT and self._is_late()):
            candidate.note(reason=NO_TIME)
        else:
            candidate.note(reason=failure.message, failure=failure.kind)

    def _fit(
        self, candidate: Candidate, until: int | None, below: int | None
    ) -> tuple[float, float] | Failure:
        """Score and seconds of a fit up to an epoch on the hold-out of the first fold."""
        pipeline, is_there = candidate.pipeline, self._has_features(candidate)
        begun, features_by = self.clock.elapsed, partial(self._features_by, pipeline.versions)
        features = features_by(pipeline.features)
        if isinstance(features, Failure):
            return features
        if not is_there:
            self.costs.extracted(candidate, self.clock.elapsed - begun)
        units, targets = candidate.units.inner(0, features, 1, self.objective)
        fits = CachedFits(
            name=f"{candidate.name}, first look",
            fold=0,
            units=units,
            recipe=pipeline.features,
            key=candidate.units.key(self.plan.protocol.hash, self.place.asked.threads).screening_fits,
            folder=self.folder,
            others=(),
            features_by=features_by,
            submit=self._submit,
            say=self.place.progress.say,
        )
        is_whole = until in candidate.rungs[-1:]
        result = fits.fit({}, 0, None if is_whole else until, below)
        if isinstance(result, Failure):
            return result
        score = objective_score(self.objective, result.probabilities, targets[0])
        return score, result.fit_seconds + result.predict_seconds

    def _features_by(self, versions: Versions | None, recipe: Recipe) -> FeatureFile | Failure:
        return self.place.features_of(self.plan.corpus, self.plan.folders, versions, recipe)

    def _submit(self, task: Task) -> Outcome:
        """Outcome of a fit; the time spent is written after each."""
        begun: list[float] = []
        outcome = self.place.submit(task, lambda: begun.append(self.clock.elapsed))
        now = self.clock.elapsed
        self.folder.write_seconds_spent(now)
        if not isinstance(outcome.value, Failure):
            result, _ = outcome.value
            self._overheads.append(max(0.0, now - begun[0] - result.fit_seconds - result.predict_seconds))
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
