"""The fits of one pipeline, and the job that makes its untuned run; `tuned_job` has the tuned one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Experiment, Tuning, is_transductive
from marsbench.data.corpus import CheckedCorpus
from marsbench.evaluation.fit import Unit, fit_unit, fit_version
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.normalisation import Groups
from marsbench.evaluation.normalisation import groups_of as standardising_groups
from marsbench.evaluation.predictions import Predictions
from marsbench.execution.base import Called, Outcome, Task
from marsbench.execution.executor import n_workers
from marsbench.features.feature_file import FeatureFile
from marsbench.hashing import derived_seed
from marsbench.planning.pipelines import Pipeline
from marsbench.planning.plans import Plan
from marsbench.plugin.registry import Recipe, holds_plugins
from marsbench.progress import Progress
from marsbench.protocols.inner_splits import inner_folds, validation_split
from marsbench.protocols.protocol import Fold, Rows
from marsbench.protocols.splitting import groups_of
from marsbench.results.keys import PipelineKey
from marsbench.results.reproduce import asked_data
from marsbench.results.schema import Run, RunPlan
from marsbench.results.store import RunFolder
from marsbench.runner.job import Job
from marsbench.runner.record import build_record, corpus_record, protocol_record
from marsbench.runner.resources import Resources
from marsbench.tuning.search_space import Configuration, of_plugin

_BEGUN = 16
"""Folds that are begun side by side, at least: each holds its rows, and thousands would fill the memory."""
_UNTUNED = {"trials": 0, "tuner": "optuna", "objective": "macro_f1", "inner_folds": None, "time_budget": None}
"""Options of an experiment, for a run that is not tuned."""


@dataclass(frozen=True)
class Units:
    """Fits of one pipeline, by fold."""

    corpus: CheckedCorpus
    pipeline: Pipeline
    seed: int
    """Seed of the run."""
    together: tuple[str, ...]
    """Names of attributes: clips that are equal in all of them stay together in splits of training clips."""
    folds: Sequence[Fold]
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""

    @classmethod
    def of(cls, plan: Plan, pipeline: Pipeline, seed: int) -> Self:
        """Fits on the folds of the plan's protocol."""
        protocol = plan.protocol
        return cls(plan.corpus, pipeline, seed, protocol.together, protocol.folds, plan.folders)

    def key(self, protocol_hash: str, threads: int) -> PipelineKey:
        """Key of the pipeline's runs and fits."""
        pipeline = self.pipeline
        return PipelineKey(
            protocol_hash, pipeline.features, pipeline.model, pipeline.hyperparameters, self.seed, threads,
            pipeline.normalise, pipeline.versions,
        )  # fmt: skip

    @cached_property
    def _groups(self) -> Groups:
        return standardising_groups(self.corpus, self.pipeline.normalise)

    def _groups_at(self, rows: Rows) -> Groups:
        return tuple(self._groups[row] for row in rows) if self._groups else ()

    def whole(self, features: FeatureFile, configuration: Configuration | None = None) -> Unit:
        """The fit on every clip, which predicts none."""
        rows = np.arange(len(self.corpus.clips))
        split = Fold(rows, rows[:0])
        return self._unit(0, features, split, derived_seed(self.seed, "whole"), configuration)

    def outer(self, fold: int, features: FeatureFile, configuration: Configuration | None = None) -> Unit:
        """The fit on a fold's whole training part, which predicts its test part."""
        split = self.folds[fold]
        seed = derived_seed(self.seed, fold)
        return self._unit(fold, features, split, seed, configuration)

    def inner(
        self, fold: int, features: FeatureFile, n_folds: int, objective: str
    ) -> tuple[tuple[Unit, ...], list[NDArray[np.int64]]]:
        """Fits on parts of a fold's training part, each of which predicts another part of it, and the truth.

        Nothing in them, rows included, is of the fold's test part. They are drafts unless the objective is a
        metric of the probabilities, which have to be calibrated for it.
        """
        seed = derived_seed(self.seed, fold, "inner")
        units, targets = self._inner(fold, features, n_folds, seed, seed)
        is_draft = METRICS[objective].from_probabilities is None
        return tuple(replace(unit, is_draft=is_draft) for unit in units), targets

    def for_holdout(self, fold: int, features: FeatureFile, n_folds: int) -> tuple[Unit, ...]:
        """Fits as those of `inner`, for an ensemble's weights: no drafts, and on other splits.

        The splits are the same for every pipeline and seed, and none of those that a tuner has chosen by;
        but for a dev part, which then decides both.
        """
        seed = derived_seed(self.seed, fold, "weighing")
        return self._inner(fold, features, n_folds, derived_seed(0, fold, "weighing"), seed)[0]

    def _inner(
        self, fold: int, features: FeatureFile, n_folds: int, split_seed: int, seed: int
    ) -> tuple[tuple[Unit, ...], list[NDArray[np.int64]]]:
        train, dev = self.folds[fold].train, self.folds[fold].dev
        splits = [Fold(train, dev, dev)]  # where there is a dev part it is all that decides
        if not len(dev):
            splits = inner_folds(self.corpus, train, self.together, n_folds, split_seed)
        units = (
            self._unit(fold, features, split, derived_seed(seed, number))
            for number, split in enumerate(splits)
        )
        return tuple(units), [self.corpus.targets[split.test] for split in splits]

    def _unit(
        self,
        fold: int,
        features: FeatureFile,
        split: Fold,
        seed: int,
        configuration: Configuration | None = None,
    ) -> Unit:
        targets = self.corpus.targets
        train, validation = split.train, split.dev
        if self.pipeline.wants_validation and not len(validation):
            train, validation = validation_split(self.corpus, train, self.together, seed)
        return Unit(
            fold=fold,
            features=features,
            model=self.pipeline.model,
            hyperparameters=self.pipeline.hyperparameters,
            folders=self.folders,
            n_classes=len(self.corpus.labels),
            train=train,
            train_targets=targets[train],
            train_groups=groups_of(self.corpus, train, self.together),
            validation=validation,
            validation_targets=targets[validation],
            validation_is_dev=bool(len(split.dev)),
            test=split.test,
            seed=seed,
            version=fit_version(),
            proposed=of_plugin(configuration or {}, self.pipeline.model.name),
            standardised_in=self._groups if is_transductive(self.pipeline.normalise) else (),
            aligned_in=() if is_transductive(self.pipeline.normalise) else self._groups_at(train),
            is_averaged=bool(self.pipeline.versions and self.pipeline.versions.averaged),
        )


class PipelineJob(Job):
    """A run of one pipeline of a plan."""

    tuning: Tuning | None = None

    def __init__(self, plan: Plan, pipeline: Pipeline, experiment: Experiment, progress: Progress) -> None:
        """Write nothing yet; the run's seed is that of the experiment."""
        self.plan, self.pipeline, self.experiment = plan, pipeline, experiment
        self.units = Units.of(plan, pipeline, experiment.seed)
        self.key = self.units.key(plan.protocol.hash, experiment.threads)
        seed = f", seed {experiment.seed}" if experiment.seed else ""
        name = f"{pipeline.name}{seed}{', tuned' if self.tuning else ''}"
        n_classes = len(plan.corpus.labels)
        shapes = [(len(split.test), n_classes) for split in plan.protocol.folds]
        super().__init__(self.folder_of(self.tuning), name, shapes, progress)

    @property
    def pipeline_name(self) -> str:
        """Feature extractor and model."""
        return self.pipeline.name

    def folder_of(self, tuning: Tuning | None) -> RunFolder:
        """Folder of the pipeline's run with that tuning."""
        board = self.experiment.results / self.plan.corpus.name / self.plan.protocol.name
        return RunFolder(board / self.key.run_id(tuning))

    def features_at(self, place: Resources, recipe: Recipe | None = None) -> FeatureFile | Failure:
        """Features of the corpus, by the pipeline's extractor or by a tuned recipe of it."""
        pipeline = self.pipeline
        return place.features_of(
            self.plan.corpus, self.plan.folders, pipeline.versions, recipe or pipeline.features
        )

    def prepare(self, place: Resources) -> None:
        """Extract the features."""
        self.features_at(place)

    def fit_missing(self, place: Resources) -> None:
        """Fit the missing folds side by side."""
        features = self.features_at(place)
        if isinstance(features, Failure):
            self.give_up(features)
            return
        folds = self.missing
        advance = self.show(f"{self.name}, folds", len(folds))
        # Studies share the time of a run: all of them are begun.
        n_begun = len(folds) if self.tuning else max(_BEGUN, 2 * place.executor.slots)
        others = iter(folds[n_begun:])

        def make(first: int) -> None:
            for fold in chain([first], others):
                self.take(fold, self.fit(fold, features, place))
                advance(1)

        place.scheduler.side_by_side([partial(make, fold) for fold in folds[:n_begun]])

    def fit(self, fold: int, features: FeatureFile, place: Resources) -> Outcome:
        """Outcome of a fold."""
        return self.fit_unit(self.units.outer(fold, features), place)

    def fit_unit(self, unit: Unit, place: Resources) -> Outcome:
        """Outcome of one fit on the whole training part of its fold."""
        plugin = Called("models", unit.model.name, unit.folders)
        task = Task(self.task_name(unit.fold), partial(fit_unit, unit), plugin)
        return self.submit_at(place, unit.fold)(task)

    def task_name(self, fold: int) -> str:
        """Name of a fold's task for progress bars."""
        return f"{self.name}, fold {fold + 1}"

    def predictions(self) -> Predictions:
        """The out-of-fold predictions; every fold is finished."""
        tests = [split.test for split in self.plan.protocol.folds]
        probabilities = [self.finished[fold].probabilities for fold in self.folds]
        return Predictions.of_folds(self.plan.corpus, tests, probabilities)

    def build_record(self, predictions: Predictions | None) -> Run:
        """The run with its scores, or without them where a fold has failed."""
        return build_record(
            self.finished,
            self.failures,
            predictions,
            self.experiment.criteria,
            independent_clips=self.experiment.independent_clips,
            run_id=self.folder.path.name,
            corpus=corpus_record(self.plan),
            protocol=protocol_record(self.plan.protocol),
            features=self.pipeline.features,
            model=self.pipeline.model,
            settings=self.pipeline.settings,
            seed=self.experiment.seed,
            threads=self.experiment.threads,
            normalise=self.pipeline.normalise,
            versions=self.pipeline.versions,
        )

    def planned(self) -> RunPlan:
        """Content of `plan.json`."""
        data, made_by = asked_data(self.plan.datasets)
        alone = self.experiment.model_copy(
            update={
                **(_UNTUNED if self.tuning is None else {}),
                "features": [self.pipeline.features.name],
                "model": [self.pipeline.model.name],
                "data": data,
                "protocol": [self.plan.protocol_word],
                "set": made_by | self.pipeline.settings,
                "plugins": [folder for folder in self.plan.folders if holds_plugins(folder)],
            }
        )
        return RunPlan(
            experiment=alone.model_dump(mode="json", by_alias=True, exclude={"results"}, exclude_none=True),
            features=self.pipeline.features.name,
            model=self.pipeline.model.name,
            settings=self.pipeline.settings,
            seed=self.experiment.seed,
            n_folds=len(self.folds),
            n_clips=len(self.plan.corpus.clips),
            n_units_at_once=max(1, n_workers(self.experiment)),
            planned=datetime.now(UTC).isoformat(timespec="seconds"),
            tuning=self.tuning,
        )
