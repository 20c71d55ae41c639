"""The search: screening, hold-outs, runs of the finalists, trials, an ensemble, and the choice of the winner.

All selection uses training data only; the scores of test clips, which the leaderboard shows, have no
influence. The finalists are the same in all folds, chosen by scores inside the training parts of all of them.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from marsbench.atomic_files import at_work, home, locked, read_record, require_writable, write_record
from marsbench.automl.asked import experiment_of, new_record, path_of
from marsbench.automl.found import Found, corrected
from marsbench.automl.holdout import held_out_line, without_held_out
from marsbench.automl.selection import (
    Candidate,
    Contender,
    ScreeningResult,
    SearchRecord,
    Winner,
    best_members,
    gain_of,
    pooled_contender,
)
from marsbench.automl.successive_halving import TIME_LIMIT, Screening
from marsbench.config import Experiment, Fusion, Search
from marsbench.errors import ConfigError, ExportError, TrainingError
from marsbench.evaluation.metrics import objective_title
from marsbench.execution.executor import open_executor
from marsbench.execution.limits import Clock
from marsbench.planning.plans import Plan, make_plans
from marsbench.progress import Progress, Silent, phase
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.results.studies import StudyFolder
from marsbench.runner.ensemble_job import fuse_runs
from marsbench.runner.job import make_jobs
from marsbench.runner.pipeline_job import PipelineJob, Units
from marsbench.runner.reload import chosen_by
from marsbench.runner.resources import Resources
from marsbench.runner.tuned_job import jobs_of

_BEST = 3
"""Contenders that become runs whatever they add to an ensemble."""
_RUNS = 0.75
"""Share of the time within which a further finalist's run has to end."""
_TUNED = 2
"""Finalists that get trials however few: the best that have anything to tune."""
_LEAST_TRIALS, _ENOUGH_TRIALS = 2, 12
"""Trials of each fold: with time for fewer there are none; a further finalist must leave as many to each."""
_OUTER, _WHOLE = 1.4, 1.8
"""Times as long as on a hold-out: a fit on a fold's training part, and one on all clips; both have more."""
_RESERVE, _SLACK = 10.0, 0.02
"""Least seconds, and a share of the time, kept for what is no fit: ensemble, bundle, its check."""


def search(
    asked: Search,
    progress: Progress | None = None,
    *,
    now: Callable[[], float] = time.monotonic,
    before: float = 0.0,
    refused: Mapping[str, str] = MappingProxyType({}),
) -> Found:
    """Search through pipelines for the time that was given; what an earlier call finished is reused.

    `now` is the time in seconds, `before` what of the time was spent before this call. The runs of `refused`,
    by id with the reason, cannot be exported: none of them wins.

    Raises:
        BenchError: what was asked for cannot be planned, a result cannot be written, nothing could be fitted
            that is not `refused`.
        KeyboardInterrupt: after Ctrl-C, once running fits are finished and written.
    """
    progress = progress or Silent()
    require_writable(asked.results)
    with at_work("a search", asked.results, home()):
        return _searched(asked, progress, now, now() - before, dict(refused))


def _searched(
    asked: Search, progress: Progress, now: Callable[[], float], start: float, refused: dict[str, str]
) -> Found:
    experiment = experiment_of(asked, progress)
    held_out = partial(without_held_out, asked=asked)
    plan, *others = make_plans(experiment, progress, tell_of_pairs=False, reduce=held_out)
    if others:
        names = ", ".join(one.protocol_word for one in (plan, *others))
        raise ConfigError(
            f"a search has one protocol, and {asked.protocol[0]} stands for {names}: name one of them"
        )
    if asked.versions:
        alone = [replace(pipeline, versions=None) for pipeline in plan.pipelines]
        plan = replace(plan, pipelines=(*alone, *plan.pipelines))
    if plan.corpus.held_out:
        progress.say(held_out_line(plan.corpus))
    path = path_of(asked, plan)
    prepared = now() - start
    with locked(path.parent, "another process is searching for the same", progress):
        known = read_record(path, SearchRecord) if path.exists() else None
        record = (known or new_record(asked)).model_copy(update={"not_exported": refused})
        study = StudyFolder(path.parent / "study")
        clock = Clock(asked.time_budget, study.seconds_spent + prepared, now)
        try:
            with Resources.opened(experiment, open_executor(experiment), progress) as place:
                screening = Screening(plan, asked.objective, place, study, clock, clock.elapsed)
                return _Search(experiment, plan, screening, path, record).found()
        finally:
            study.write_seconds_spent(clock.elapsed)


class _Entrant(NamedTuple):
    """A contender that is a finished run."""

    contender: Contender
    folder: RunFolder
    run: Run


def _complete(made: Iterable[tuple[Contender, PipelineJob]]) -> list[_Entrant]:
    """Contenders whose runs have no failed fold."""
    return [_Entrant(contender, run.folder, run.record) for contender, run in made if run.record.metrics]


@dataclass
class _Search:
    """The stages of a search. Decisions that the record holds are not made again."""

    experiment: Experiment
    plan: Plan
    screening: Screening
    path: Path
    record: SearchRecord

    def found(self) -> Found:
        """Run all stages."""
        candidates = self._candidates()
        self._keep()
        shortlist = self._shortlist(candidates)
        finalists = self._finalists(shortlist) or self._late(candidates, shortlist)
        entrants = [*finalists, *self._tuned(finalists)]
        if not self._usable(entrants):
            entrants += self._late(candidates, shortlist)
        return self._chosen(shortlist, entrants)

    @phase("screening")
    def _shortlist(self, candidates: Sequence[Candidate]) -> list[Contender]:
        """Pipelines with their predictions on hold-outs of every fold, best first."""
        if self.record.looked is None:
            self.screening.look(candidates)
            self._keep(looked=[one.looked for one in candidates])
        known = [one.name for one in self.record.held_out or ()]
        chosen = [one for one in candidates if one.name in known] if known else candidates
        contenders = self.screening.hold_out(chosen, in_any_time=bool(known))
        if not contenders and (late := self.screening.late(candidates)):
            contenders = [late]
        if not contenders:
            reasons = dict.fromkeys(one.looked.reason for one in candidates)
            raise TrainingError(f"no pipeline could be fitted: {'; '.join(filter(None, reasons))}")
        contenders.sort(key=lambda one: -one.score)
        title = objective_title(self.screening.objective)
        self._say(
            f"hold-outs, {title} in %: "
            + ", ".join(f"{one.name} {100 * one.score:.1f}" for one in contenders)
        )
        self._keep_candidates(candidates, contenders)
        return contenders

    def _keep_candidates(self, candidates: Sequence[Candidate], contenders: Sequence[Contender]) -> None:
        self._keep(looked=[one.looked for one in candidates], held_out=[one.record for one in contenders])

    def _candidates(self) -> list[Candidate]:
        """Every pair, with the screening result of an earlier command if there is one."""
        known = {one.name: one for one in self.record.looked or ()}
        return [
            Candidate(
                pipeline,
                Units.of(self.plan, pipeline, self.experiment.seed),
                known.get(pipeline.name)
                or ScreeningResult(
                    features=pipeline.features.name, model=pipeline.model.name, options=pipeline.options
                ),
            )
            for pipeline in self.plan.pipelines
        ]

    def _finalists(self, shortlist: Sequence[Contender]) -> list[_Entrant]:
        """Runs of the best pipelines and of those that improve an ensemble most, while there is time."""
        if self.record.finalists is None:
            wanted = best_members(shortlist)
            wanted += [one for one in shortlist[:_BEST] if one not in wanted]
            needed, names = 0.0, list[str]()
            for one in wanted:
                needed += _OUTER * self.screening.seconds_of_folds(one.seconds)
                if not names or self.screening.in_time(_RUNS, needed):
                    names.append(one.name)
            if late := [one.name for one in wanted if one.name not in names]:
                self._say(f"no time for runs of {', '.join(late)}")
            self._keep(finalists=names)
        chosen = [one for one in shortlist if one.name in (self.record.finalists or ())]
        self._say(f"runs of {', '.join(one.name for one in chosen)}")
        self.screening.is_safe = False
        first = self._runs(chosen[:1])  # nothing that comes after it may keep it from its end
        self.screening.is_safe = bool(first)
        self.screening.end_at(_RUNS)
        return [*first, *self._runs(chosen[1:])]

    def _runs(self, contenders: Sequence[Contender], *, retry_failed: bool = False) -> list[_Entrant]:
        runs = [run for one in contenders for run in self._jobs_of(one.candidate, self.experiment)]
        make_jobs(runs, self.screening.place, retry_failed=retry_failed)
        return _complete(zip(contenders, runs, strict=True))

    def _late(self, candidates: Sequence[Candidate], shortlist: list[Contender]) -> list[_Entrant]:
        """The first complete run of a further pipeline, where those of all finalists failed.

        The others of the shortlist come first, then all that were dropped before, and at last the
        finalists without the time limit of a fit.
        """
        stopped: list[Contender] = []
        while not stopped or self._clock.left > 0:
            if (late := self._next(candidates, shortlist)) is None:
                break
            self._keep(finalists=[*(self.record.finalists or ()), late.name])
            self._say(f"run of {late.name}, as those before it have failed")
            self.screening.is_safe = False
            if entrants := self._runs([late]):
                return entrants
            stopped = [one for one in shortlist if self._was_stopped(one)]
        if stopped := [one for one in shortlist if self._was_stopped(one)]:
            self.screening.is_safe = False
            self.screening.lift_limits()
        return next(filter(None, (self._runs([one], retry_failed=True) for one in stopped)), [])

    def _was_stopped(self, contender: Contender) -> bool:
        """Whether its run is incomplete because a fit reached its time limit."""
        (job,) = self._jobs_of(contender.candidate, self.experiment)
        failures = job.folder.read_run().failures if job.folder.is_finished else []
        return any(failure.kind == TIME_LIMIT for failure in failures)

    def _next(self, candidates: Sequence[Candidate], shortlist: list[Contender]) -> Contender | None:
        """The best pipeline that has no run; `shortlist` and the record get one that was dropped before."""
        known = {one.name for one in shortlist}
        if others := [one for one in shortlist if one.name not in (self.record.finalists or ())]:
            return others[0]
        late = self.screening.late([one for one in candidates if one.name not in known])
        if late is not None:
            shortlist.append(late)
            self._keep_candidates(candidates, shortlist)
        return late

    def _tuned(self, finalists: Sequence[_Entrant]) -> list[_Entrant]:
        """Tuned runs of the same pipelines, one after another, each in its share of the time that is left."""
        self.screening.is_safe = True
        self.screening.ends = self._clock.budget - self._ending([one.contender for one in finalists])
        tunable = self._tunable(finalists)
        tuned: list[_Entrant] = []
        for position, entrant in enumerate(tunable):
            contender = entrant.contender
            if contender.name not in self.record.trials:
                left = self._seconds_for_trials(contender, finalists) / (len(tunable) - position)
                self._decide_trials(contender.name, left)
            if not (seconds := self.record.trials[contender.name]):
                continue
            self._say(f"trials of {contender.name} for {seconds:.0f} s")
            timed = self.experiment.model_copy(update={"trials": None, "time_budget": seconds})
            *_, run = self._jobs_of(contender.candidate, timed)
            make_jobs([run], self.screening.place, Clock(seconds))
            chosen = [chosen_by(run.record, fold) for fold in run.folds] if run.record.metrics else []
            if chosen and (again := self.screening.hold_out_tuned(contender.candidate, chosen)):
                tuned += _complete([(again, run)])
        return tuned

    def _tunable(self, finalists: Sequence[_Entrant]) -> list[_Entrant]:
        """Finalists that get trials, best first; who gains most by them is not known before.

        One whose share is too short for the fewest trials leaves it to the others.
        """
        found: list[_Entrant] = []
        for one in finalists:
            name, trials = one.contender.name, self.record.trials
            if not one.contender.candidate.pipeline.is_tunable:
                continue
            undecided = sum(each.contender.name not in trials for each in found)
            share = self._seconds_for_trials(one.contender, finalists) / (undecided + 1)
            least = _LEAST_TRIALS if len(found) < _TUNED else _ENOUGH_TRIALS
            if trials[name] if name in trials else share > self._seconds_of_trials(one.contender, least):
                found.append(one)
            elif len(found) < _TUNED:
                self._decide_trials(name, 0.0)
        return found

    def _decide_trials(self, name: str, seconds: float) -> None:
        self._keep(trials=self.record.trials | {name: max(0.0, round(seconds))})
        if not self.record.trials[name]:
            self._say(f"no time for trials of {name}")

    def _seconds_for_trials(self, contender: Contender, finalists: Sequence[_Entrant]) -> float:
        """Seconds for trials of a contender and of those after it; 0 if they are too few."""
        later = self.screening.seconds_of_folds(contender.seconds)
        left = self._clock.left - later - self._ending([one.contender for one in finalists])
        return left if left > self._seconds_of_trials(contender, _LEAST_TRIALS) else 0.0

    def _seconds_of_trials(self, contender: Contender, n_trials: int) -> float:
        """Seconds of so many trials in every fold, and of the fits of what they find."""
        tuning = self.experiment.model_copy(update={"trials": None}).tuning(
            has_epochs=bool(contender.candidate.pipeline.rungs)
        )
        n_inner = tuning.inner_folds if tuning else 1
        trial = n_inner * self.screening.seconds_of_folds(contender.candidate.looked.seconds)
        return n_trials * trial + _OUTER * self.screening.seconds_of_folds(contender.seconds)

    def _ending(self, contenders: Sequence[Contender]) -> float:
        """Seconds for all after the last run, if these contenders are exported."""
        return self._exporting(contenders) + _RESERVE + _SLACK * self._clock.budget

    def _exporting(self, contenders: Sequence[Contender]) -> float:
        """Seconds for the fits of these contenders on all clips."""
        return _WHOLE * sum(one.seconds for one in contenders) + self.screening.longest_start

    def _usable(self, entrants: Sequence[_Entrant]) -> list[_Entrant]:
        """Those that may win."""
        return [one for one in entrants if one.run.run_id not in self.record.not_exported]

    @phase("choosing")
    def _chosen(self, shortlist: Sequence[Contender], entrants: Sequence[_Entrant]) -> Found:
        """The winner: the ensemble, unless the best run alone is clearly better on the hold-outs.

        Log loss, by which members are chosen, tells more with few clips than a difference of a few errors.
        """
        if not (usable := self._usable(entrants)):
            if refused := self.record.not_exported:
                raise ExportError(f"no run can be exported: {'; '.join(dict.fromkeys(refused.values()))}")
            raise TrainingError("every finalist's run has failed; `bench status` lists the reasons")
        by_name = {one.contender.name: one for one in usable if one.run.tuning is None}
        for one in usable:  # tuned inside the same clips, its score is high partly by chance
            untuned = by_name.setdefault(one.contender.name, one)
            if one is not untuned and gain_of(one.contender, untuned.contender).is_real:
                by_name[one.contender.name] = one
        best = max(by_name.values(), key=lambda one: one.contender.score)
        members = self._members([one.contender for one in by_name.values()])
        runs = [(one.folder, one.run) for one in entrants]
        inner = [one.contender.predictions for one in entrants]
        best_run = winner = best.folder, best.run
        score = best.contender.score
        if len(members) > 1:
            ids = [by_name[one.name].run.run_id for one in members]
            runs.append(self._fused(ids))
            if runs[-1][1].metrics:
                pooled = pooled_contender(members)
                inner.append(pooled.predictions)
                is_refused = runs[-1][1].run_id in self.record.not_exported
                if not is_refused and not gain_of(best.contender, pooled).is_clear:
                    winner, score = runs[-1], pooled.score
        inner += [one.predictions for one in shortlist if all(one is not run.contender for run in entrants)]
        chosen = corrected(self.screening.objective, runs, inner, runs.index(winner))
        self._keep(winner=Winner(run_id=winner[1].run_id, score=score, chosen=chosen))
        exported = members if winner is not best_run else [best.contender]
        left = max(0.0, (self._clock.left - self._ending(exported)) / 2)
        return Found(winner, runs, self.record, self.path, self.plan.corpus, left)

    def _members(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Those of the ensemble that there is time to export; a single one for none."""
        if self.record.members is None:
            members = best_members(contenders)
            is_open = self.record.winner is None  # else it was chosen before members were kept
            while is_open and len(members) > 1 and self._clock.left < self._exporting(members):
                self._say(f"no time to export {members[-1].name} in an ensemble")
                members.pop()
            self._keep(members=[one.name for one in members])
        names = self.record.members or []
        return sorted((one for one in contenders if one.name in names), key=lambda one: names.index(one.name))

    def _fused(self, ids: list[str]) -> tuple[RunFolder, Run]:
        names = self.experiment.model_fields_set & Fusion.model_fields.keys() - {"data", "protocol"}
        shared = {name: getattr(self.experiment, name) for name in names}
        fusion = Fusion(**shared, runs=ids, choose=True)
        return fuse_runs(fusion, self.screening.place.progress, known=[self.screening.folder])

    def _jobs_of(self, candidate: Candidate, experiment: Experiment) -> list[PipelineJob]:
        alone = replace(self.plan, pipelines=(candidate.pipeline,))
        return jobs_of(alone, experiment, self.screening.place.progress)

    def _say(self, line: str) -> None:
        """Print a line with the time so far."""
        minutes, budget = self._clock.elapsed / 60, self._clock.budget / 60
        self.screening.place.progress.say(f"{minutes:.1f} of {budget:.1f} min, {line}")

    @property
    def _clock(self) -> Clock:
        return self.screening.clock

    def _keep(self, **decided: object) -> None:
        """Write decisions into the record."""
        self.record = self.record.model_copy(update=decided)
        write_record(self.path, self.record)
