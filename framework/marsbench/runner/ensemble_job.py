"""Ensembles: finished runs fused into one, by their probabilities.

For each fold the members' recorded probabilities of its test clips are averaged or pooled; no member is
trained on the whole training part again. The weights of the pool are fitted on the members' predictions
inside the fold's training part (`HoldoutPredictions`): the test clips of a fold have no influence on the
weights that they are pooled by.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import at_work, home, require_writable
from marsbench.config import Fusion, is_transductive
from marsbench.environment import environment
from marsbench.errors import ResultsError
from marsbench.evaluation.ensembling import average, fit_weights, pool
from marsbench.evaluation.fit import fit_unit
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.predictions import Predictions, stacked
from marsbench.execution.base import Called, Outcome, Submit, Task, failure
from marsbench.execution.executor import n_workers, open_executor
from marsbench.features.feature_file import FeatureFile
from marsbench.plugin.registry import Recipe, discover, drop_in_folders
from marsbench.progress import Progress, Silent
from marsbench.results.comparison import Member, find_members
from marsbench.results.keys import ensemble_id
from marsbench.results.schema import EnsembleRecord, Run, RunPlan
from marsbench.results.store import RunFolder
from marsbench.results.studies import StudyFolder
from marsbench.runner.job import Job, make_jobs
from marsbench.runner.pipeline_job import Units
from marsbench.runner.record import build_record
from marsbench.runner.reload import (
    changed_plugins,
    chosen_by,
    compare_with_run,
    corpus_of,
    folds_of,
    units_of,
)
from marsbench.runner.resources import Resources
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.search_space import Configuration, tuned_features

FEATURES = "ensemble"
"""The ensemble's name in the place of a feature extractor."""


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
    job = EnsembleJob(members, asked, progress, tuple(known))
    with at_work("an ensemble", asked.results, home()):
        if job.has_gaps(retry_failed):
            job.require_refittable()
        with Resources.opened(asked, open_executor(asked), progress) as place:
            make_jobs([job], place, retry_failed=retry_failed)
    return job.folder, job.record


def _name_for_good(member: Member, results: Path) -> str:
    """What finds the member again from any folder: its id, or its path if it is not among the results."""
    is_here = results.resolve() in member.folder.path.resolve().parents
    return member.run.run_id if is_here else str(member.folder.path.absolute())


class InnerPredictions(NamedTuple):
    """One pipeline's predictions inside a fold's training part."""

    predictions: Predictions
    """For clips that an inner fit is not trained on, the same for every pipeline; its folds are splits."""
    fits: tuple[UnitResult, ...]
    """One for each split."""


@dataclass(frozen=True)
class HoldoutPredictions:
    """Fits pipelines on parts of each fold's training clips, each fit kept as a file.

    The test part of the fold is no part of any of it.
    """

    protocol_hash: str
    n_folds: int
    """Splits of each fold's training clips."""
    place: Resources
    folder: StudyFolder
    """Where fits are kept."""
    others: tuple[StudyFolder, ...] = ()
    """Folders of other jobs: what they fitted is not fitted again."""

    def of(
        self, units: Units, configuration: Configuration, fold: int, submit: Submit
    ) -> InnerPredictions | Failure:
        """A pipeline's predictions on a fold, or the first failure.

        Args:
            units: its fits.
            configuration: what a tuner chose in that fold; {} for none.
            fold: number of the fold, from 0.
            submit: has a fit run.
        """
        features = self.features(units, configuration)
        if isinstance(features, Failure):
            return features
        inner = units.for_holdout(fold, features, self.n_folds)
        fits = CachedFits(
            name=f"{units.pipeline.name}, fold {fold + 1}",
            fold=fold,
            units=inner,
            recipe=units.pipeline.features,
            key=units.key(self.protocol_hash, self.place.asked.threads).holdout_fits,
            folder=self.folder,
            others=self.others,
            features_by=partial(self._features, units),
            submit=submit,
            say=self.place.progress.say,
        )
        results = fits.fit_all(configuration)
        if isinstance(results, Failure):
            return results
        return InnerPredictions(fits.predictions(results, units.corpus), tuple(results))

    def features(self, units: Units, configuration: Configuration) -> FeatureFile | Failure:
        """Features of the corpus for a pipeline in some configuration, or why there are none."""
        try:
            recipe = tuned_features(units.pipeline.features, units.folders, configuration)
        except Exception as error:  # noqa: BLE001 - an extractor may raise anything; the fold fails with its reason
            return failure(error)
        return self._features(units, recipe)

    def _features(self, units: Units, recipe: Recipe) -> FeatureFile | Failure:
        return self.place.features_of(units.corpus, units.folders, units.pipeline.versions, recipe)


def fits_of(members: Sequence[Member], asked: Fusion, progress: Progress) -> tuple[list[Units], list[int]]:
    """The fits of each member, on the corpus and the folds that they were made on.

    Also the positions of members whose plugins have changed since their runs; `progress` is warned of them.

    Raises:
        BenchError: what they were made of is not there any more.
    """
    registry, first = discover(drop_in_folders(asked.plugins)), members[0]
    corpus = corpus_of(first.run, registry, asked.data, progress)
    folds = folds_of(first.folder, first.run, corpus)
    units = [units_of(member.run, corpus, registry, folds) for member in members]
    pairs = enumerate(zip(members, units, strict=True))
    return units, [n for n, (one, its) in pairs if changed_plugins(one.run, its.pipeline, progress)]


class EnsembleJob(Job):
    """An ensemble of finished runs."""

    def __init__(
        self,
        members: tuple[Member, ...],
        asked: Fusion,
        progress: Progress,
        known: tuple[StudyFolder, ...] = (),
    ) -> None:
        """Write nothing yet; inner fits are also looked up in `known`."""
        self.members, self.asked, self.known = members, asked, known
        self.ids = [member.run.run_id for member in members]
        self.inner_folds = 0 if asked.equal else asked.inner_folds
        """Splits that the weights are fitted on; 0 if they are equal."""
        self.model = "log_pool" if self.inner_folds else "mean"
        """The ensemble's name in the place of a model."""
        self._found: dict[int, dict[str, InnerPredictions]] = {}
        """Predictions so far, by fold and member."""
        self._changed: list[tuple[Member, Units]] = []
        """Members whose plugins have changed since their runs."""
        run, clips = members[0].run, members[0].predictions
        run_id = ensemble_id(run.protocol.hash, f"{FEATURES}-{self.model}", self.ids, self.inner_folds)
        shapes = [(int((clips.folds == fold).sum()), clips.n_classes) for fold in range(run.protocol.n_folds)]
        folder = RunFolder(asked.results / run.corpus.name / run.protocol.name / run_id)
        super().__init__(folder, f"{FEATURES} + {self.model}", shapes, progress)

    @cached_property
    def _member_fits(self) -> list[Units]:
        """The fits of each member, on the corpus and the folds that they were made on."""
        units, changed = fits_of(self.members, self.asked, self._progress)
        self._changed = [(self.members[number], units[number]) for number in changed]
        return units

    def require_refittable(self) -> None:
        """Raise BenchError, before anything is written, if inner fits are needed and cannot be made."""
        if not self.asked.equal:
            _ = self._member_fits

    def fit_missing(self, place: Resources) -> None:
        """Compute the weights of the missing folds."""
        if self.asked.equal:
            for fold in self.missing:
                equal = [1 / len(self.members)] * len(self.members)
                self._take_weights(fold, equal, average(self._outer(fold)))
            return
        holdouts = HoldoutPredictions(
            self.members[0].run.protocol.hash, self.inner_folds, place, self.folder.study, self._others
        )
        each = list(product(self.missing, zip(self.members, self._member_fits, strict=True)))
        advance = self.show("Weights: members, folds", len(each))

        def predict(fold: int, member: Member, units: Units) -> None:
            submit = self.submit_at(place, fold)
            self._take_predictions(
                fold, member, holdouts.of(units, chosen_by(member.run, fold), fold, submit)
            )
            advance(1)

        compare = partial(self._compare, holdouts, self.missing[0])
        works = [partial(predict, fold, *member) for fold, member in each]
        place.scheduler.side_by_side([*works, *(partial(compare, *member) for member in self._changed)])

    def _compare(self, holdouts: HoldoutPredictions, fold: int, member: Member, units: Units) -> None:
        """Fit a fold of a member as its run did, and tell whether that reproduces the recorded predictions.

        Where the fit fails, the member's inner fits fail too, with the same reason.
        """
        configuration = chosen_by(member.run, fold)
        features = holdouts.features(units, configuration)
        if isinstance(features, Failure):
            return
        unit = units.outer(fold, features, configuration)
        plugin = Called("models", unit.model.name, unit.folders)
        task = Task(f"{member.run.run_id}, fold {fold + 1}", partial(fit_unit, unit), plugin)
        result = holdouts.place.submit(task).value
        if not isinstance(result, Failure):
            clips = [units.corpus.clips[row].id for row in unit.test]
            compare_with_run(member.folder, fold, clips, result.probabilities, self._progress, always=True)

    @property
    def _others(self) -> tuple[StudyFolder, ...]:
        """Folders that may hold the same fits: `known`, and other ensembles."""
        found = sorted(self.folder.path.parent.glob(f"{FEATURES}-{self.model}-*"))
        return (*self.known, *(RunFolder(path).study for path in found if path != self.folder.path))

    def _take_predictions(self, fold: int, member: Member, predictions: InnerPredictions | Failure) -> None:
        """Keep a member's inner predictions on a fold; with those of the last member, fit the weights."""
        if isinstance(predictions, Failure):
            message = f"{member.run.run_id}: {predictions.message}"
            self.take(fold, Outcome(predictions.model_copy(update={"message": message})))
            return
        found = self._found.setdefault(fold, {})
        found[member.run.run_id] = predictions
        if len(found) == len(self.members):
            in_order = [found[run_id] for run_id in self.ids]
            inner = [one.predictions for one in in_order]
            weights = fit_weights(stacked(inner), inner[0].targets)
            self._take_weights(fold, weights.tolist(), pool(self._outer(fold), weights), in_order)

    def _outer(self, fold: int) -> NDArray[np.float32]:
        """The members' probabilities of a fold's test clips, (n_members, n_clips, n_classes)."""
        return stacked([member.predictions.of_fold(fold) for member in self.members])

    def _take_weights(
        self,
        fold: int,
        weights: Sequence[float],
        fused: NDArray[np.float64],
        found: Sequence[InnerPredictions] = (),
    ) -> None:
        """Write a fold's weights and the fused probabilities of its test clips."""
        fits = [fit for one in found for fit in one.fits]
        result = UnitResult(
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
        self.take(fold, Outcome(result))

    def predictions(self) -> Predictions:
        """The fused predictions, row for row of the same clips as the members'; every fold is finished."""
        clips = self.members[0].predictions
        probabilities = np.empty_like(clips.probabilities)
        for fold, unit in self.finished.items():
            probabilities[clips.folds == fold] = unit.probabilities
        return clips.with_probabilities(probabilities)

    def build_record(self, predictions: Predictions | None) -> Run:
        """The run with its scores, or without them where a fold has failed.

        Times, sizes and parameters are the sums of the members': who uses the ensemble uses all of them.
        """
        members = [member.run for member in self.members]
        parameters = {"inner_folds": self.inner_folds} if self.inner_folds else {}
        units = [self.finished[fold] for fold in sorted(self.finished)]
        normalised = [run.normalise for run in members if run.normalise]
        return build_record(
            self.finished,
            self.failures,
            predictions,
            self.asked.criteria,
            members,
            independent_clips=self.asked.independent_clips or all(run.independent_clips for run in members),
            run_id=self.folder.path.name,
            corpus=members[0].corpus,
            protocol=members[0].protocol,
            features=Recipe(FEATURES, {}, "", {}),
            model=Recipe(self.model, parameters, "", {}),
            settings={},
            normalise=max(normalised, key=is_transductive, default=None),
            seed=0,
            threads=max(run.threads for run in members),
            ensemble=EnsembleRecord(
                members=[member.record for member in self.members],
                inner_folds=self.inner_folds,
                chosen="inside training parts" if self._is_chosen_inside else "by hand",
                weights=[[float(unit.hyperparameters[run_id]) for run_id in self.ids] for unit in units],
            ),
        )

    @property
    def _is_chosen_inside(self) -> bool:
        """Whether members were ever chosen so: naming them again by hand does not change what they are."""
        if self.asked.choose:
            return True
        with suppress(ResultsError):
            known = self.folder.read_run().ensemble if self.folder.is_finished else None
            return known is not None and known.chosen != "by hand"
        return False

    def planned(self) -> RunPlan:
        """Content of `plan.json`."""
        run = self.members[0].run
        return RunPlan(
            experiment={},
            features=FEATURES,
            model=self.model,
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
