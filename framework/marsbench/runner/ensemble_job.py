"""Ensembles: finished runs fused into one, by their probabilities.

For each fold the members' recorded probabilities of its test clips are averaged or pooled; no member is
trained on the whole training part again. The weights of the pool are fitted on the members' predictions
inside the fold's training part (`holdout_predictions`): the test clips of a fold have no influence on the
weights that they are pooled by.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import require_writable
from marsbench.config import Fusion
from marsbench.data.corpus import CheckedCorpus
from marsbench.environment import environment
from marsbench.evaluation.ensembling import average, fit_weights, pool
from marsbench.evaluation.fit import fit_version
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.predictions import stacked
from marsbench.execution.base import Executor
from marsbench.execution.executor import n_workers, open_executor
from marsbench.execution.interrupt import Stopped, graceful_interruption
from marsbench.hashing import digest
from marsbench.locks import locked, pause
from marsbench.plugin.registry import discover, drop_in_folders
from marsbench.progress import Advance, Progress, Silent
from marsbench.results.comparison import Member, find_members
from marsbench.results.predictions import write_predictions
from marsbench.results.schema import Run, RunPlan
from marsbench.results.store import RunFolder
from marsbench.results.studies import StudyFolder
from marsbench.runner.holdout_predictions import HoldoutPredictions, InnerPredictions
from marsbench.runner.record import FEATURES, fused_predictions, model_name, recorded_ensemble
from marsbench.runner.reload import changed_plugins, chosen_by, corpus_of, folds_of, units_of
from marsbench.runner.resources import Resources
from marsbench.runner.units import Units
from marsbench.versions import versions_of


def fuse_runs(
    asked: Fusion,
    progress: Progress | None = None,
    *,
    retry_failed: bool = False,
    known: Sequence[StudyFolder] = (),
) -> tuple[RunFolder, Run]:
    """Make an ensemble of finished runs; what an earlier call finished of it is reused.

    An inner fit that failed earlier is left alone unless `retry_failed`; what is in `known` is not fitted
    again.

    Raises:
        BenchError: the runs cannot be fused, what they were made of is not there any more, a result cannot be
            written. An inner fit that fails is recorded in the ensemble's run instead.
        KeyboardInterrupt: after Ctrl-C, once what was under way is finished and written.
    """
    progress = progress or Silent()
    require_writable(asked.results)
    members = find_members(asked.results, asked.runs)
    asked = asked.model_copy(
        update={
            "runs": [_name_for_good(member, asked.results) for member in members],
            # As many as the members' own, whatever was asked for: the same members, the same ensemble.
            "threads": max(member.run.threads for member in members),
        }
    )
    ensemble = EnsembleJob(members, asked, progress, retry_failed, tuple(known))
    ensemble.refuse_what_cannot_be_fitted()
    with graceful_interruption(progress.say) as stop, ExitStack() as stack:
        in_use = "another process is making the same ensemble"
        stack.enter_context(locked(ensemble.folder.path, in_use, progress, partial(_pause, stop)))
        return ensemble.folder, ensemble.make(stop, stack)


def _name_for_good(member: Member, results: Path) -> str:
    """What finds the member again from any folder: its id, or its path if it is not among the results."""
    is_here = results.resolve() in member.folder.path.resolve().parents
    return member.run.run_id if is_here else str(member.folder.path.absolute())


def _pause(stop: Callable[[], bool]) -> None:
    if stop():
        raise Stopped
    pause()


class _Refits(NamedTuple):
    """What inner fits are made of."""

    corpus: CheckedCorpus
    units: list[Units]
    """One a member."""
    executor: Executor


@dataclass
class EnsembleJob:
    """One ensemble while it is made."""

    members: tuple[Member, ...]
    asked: Fusion
    progress: Progress
    retry_failed: bool
    known: tuple[StudyFolder, ...] = ()
    """Beside those of other ensembles, where inner fits may be found."""
    finished: dict[int, UnitResult] = field(default_factory=dict)
    """By fold."""
    failures: dict[int, Failure] = field(default_factory=dict)
    found: dict[int, dict[str, InnerPredictions]] = field(default_factory=dict)
    """By fold and member, as far as they are in."""

    @cached_property
    def folder(self) -> RunFolder:
        """Where it is written; another digest whenever anything differs that could change a score."""
        run = self.members[0].run
        code = [*versions_of("ensembling"), *([] if self.asked.equal else [fit_version()])]
        parts = [run.protocol.hash, self.ids, self.inner_folds, *code]
        run_id = f"{self._name}-s0-{digest(parts)[:12]}"
        return RunFolder(self.asked.results / run.corpus.name / run.protocol.name / run_id)

    @property
    def _name(self) -> str:
        return f"{FEATURES}-{model_name(self.inner_folds)}"

    @property
    def ids(self) -> list[str]:
        """Of the members, in order."""
        return [member.run.run_id for member in self.members]

    @property
    def inner_folds(self) -> int:
        """Splits that the weights are fitted on; 0 if they are equal."""
        return 0 if self.asked.equal else self.asked.inner_folds

    @property
    def missing(self) -> list[int]:
        """Folds that have neither weights nor a failure."""
        folds = range(self.members[0].run.protocol.n_folds)
        return [fold for fold in folds if fold not in self.finished and fold not in self.failures]

    @cached_property
    def _refits(self) -> _Refits:
        registry = discover(drop_in_folders(self.asked.plugins))
        first = self.members[0]
        executor = open_executor(self.asked)
        corpus = corpus_of(first.run, registry, self.asked.data, self.progress)
        folds = folds_of(first.folder, first.run, corpus)
        units = [units_of(member.run, corpus, registry, folds) for member in self.members]
        for member, its in zip(self.members, units, strict=True):
            changed_plugins(member.run, its.pipeline, self.progress)
        return _Refits(corpus, units, executor)

    def refuse_what_cannot_be_fitted(self) -> None:
        """Raise BenchError, before anything is written, if fits seem to be missing and cannot be made."""
        status_counts = self.folder.status_counts()
        n_there = status_counts.done + (0 if self.retry_failed else status_counts.failed)
        if not self.asked.equal and n_there < len(self.missing):
            _ = self._refits

    def make(self, stop: Callable[[], bool], stack: ExitStack) -> Run:
        """Find the weights of every fold and record the run; the folder is held by this process."""
        self.folder.write_plan(self._planned())
        if self.retry_failed:
            self.folder.clear_failures()
        self._read()
        try:
            if self.asked.equal:
                for fold in self.missing:
                    equal = [1 / len(self.members)] * len(self.members)
                    self._keep(fold, equal, average(self._said(fold)))
            elif self.missing:
                self._fit(stop, stack)
        finally:
            self.folder.clear_running()
        return self._recorded()

    def _read(self) -> None:
        clips = self.members[0].predictions
        for fold in self.missing:
            shape = int((clips.folds == fold).sum()), clips.n_classes
            if result := self.folder.unit(fold, shape, self.progress.say):
                self.finished[fold] = result
            elif failed := self.folder.failure(fold, self.progress.say):
                self.failures[fold] = failed

    def _fit(self, stop: Callable[[], bool], stack: ExitStack) -> None:
        """Fit all members on parts of all folds' training parts, side by side; weights as soon as may be."""
        corpus, units, executor = self._refits
        place = Resources(corpus, units[0].folders, self.asked, executor, self.progress, stop, stack)
        holdouts = HoldoutPredictions(
            protocol_hash=self.members[0].run.protocol.hash,
            n_folds=self.inner_folds,
            threads=self.asked.threads,
            place=place,
            folder=self.folder.study,
            others=self._others,
            say=self.progress.say,
        )
        each = list(product(self.missing, zip(self.members, units, strict=True)))
        advance = stack.enter_context(self.progress.track("Weights: members, folds", len(each)))
        place.run(partial(self._predict, holdouts, advance, fold, *member) for fold, member in each)

    @property
    def _others(self) -> tuple[StudyFolder, ...]:
        """Where the same fits may be: `known`, and other ensembles."""
        found = sorted(self.folder.path.parent.glob(f"{self._name}-*"))
        return (*self.known, *(RunFolder(path).study for path in found if path != self.folder.path))

    def _predict(
        self, holdouts: HoldoutPredictions, advance: Advance, fold: int, member: Member, units: Units
    ) -> None:
        """Make a member's inner fits on a fold; the last member's are followed by the fold's weights."""
        submit = partial(holdouts.place.submit, begin=partial(self.folder.mark_running, fold))
        predictions = holdouts.of(units, chosen_by(member.run, fold), fold, submit)
        if isinstance(predictions, Failure):
            told = f"{member.run.run_id}: {predictions.message}"
            self.failures[fold] = predictions.model_copy(update={"fold": fold, "message": told})
            self.folder.write_failure(self.failures[fold])
        else:
            self.found.setdefault(fold, {})[member.run.run_id] = predictions
        found = self.found.get(fold, {})
        if len(found) == len(self.members):
            in_order = [found[run_id] for run_id in self.ids]
            inner = [one.predictions for one in in_order]
            weights = fit_weights(stacked(inner), inner[0].targets)
            self._keep(fold, weights.tolist(), pool(self._said(fold), weights), in_order)
        advance(1)

    def _said(self, fold: int) -> NDArray[np.float32]:
        """The members' probabilities of a fold's test clips, (n_members, n_clips, n_classes)."""
        return stacked([member.predictions.of_fold(fold) for member in self.members])

    def _keep(
        self,
        fold: int,
        weights: Sequence[float],
        fused: NDArray[np.float64],
        found: Sequence[InnerPredictions] = (),
    ) -> None:
        """Write a fold's weights and what they make of its test clips."""
        fits = [fit for one in found for fit in one.fits]
        self.finished[fold] = UnitResult(
            fold=fold,
            probabilities=fused.astype(np.float32),
            hyperparameters=dict(zip(self.ids, weights, strict=True)),
            n_parameters=None,
            history=[],
            warnings=list(dict.fromkeys(warning for fit in fits for warning in fit.warnings)),
            finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
            environment=environment(),
            fit_seconds=sum(fit.fit_seconds + fit.predict_seconds for fit in fits),
            predict_seconds=0.0,
        )
        self.folder.write_unit(self.finished[fold])
        self.folder.clear_running(fold)

    def _recorded(self) -> Run:
        run = recorded_ensemble(
            self.folder.path.name,
            self.members,
            self.inner_folds,
            self.asked.criteria,
            self.finished,
            self.failures,
        )
        if run.metrics is not None:
            run = write_predictions(self.folder, run, fused_predictions(self.members, self.finished))
        self.folder.write_run(run)
        return run

    def _planned(self) -> RunPlan:
        run = self.members[0].run
        return RunPlan(
            experiment={},
            features=FEATURES,
            model=model_name(self.inner_folds),
            settings={},
            seed=0,
            n_folds=run.protocol.n_folds,
            n_clips=run.corpus.n_clips,
            n_units_at_once=1 if self.asked.equal else max(1, n_workers(self.asked)),
            planned=datetime.now(UTC).isoformat(timespec="seconds"),
            fusion=self.asked.model_dump(
                mode="json", by_alias=True, exclude={"results", "threads"}, exclude_none=True
            ),
        )
