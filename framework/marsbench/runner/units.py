"""The fits of a pipeline under a protocol, as descriptions that workers understand."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus
from marsbench.evaluation.fit import Unit, fit_version
from marsbench.features.store import FeatureFile
from marsbench.hashing import derived_seed
from marsbench.planning import Pipeline, Plan
from marsbench.protocols.protocol import Fold, Rows
from marsbench.protocols.splitting import inner_folds, validation_split
from marsbench.tuning.search_space import Configuration, of_plugin


@dataclass(frozen=True)
class Units:
    """Fits of one pipeline, by fold."""

    corpus: CheckedCorpus
    pipeline: Pipeline
    seed: int
    """Seed of the run."""
    by_speaker: bool
    """Whether whole speakers are kept aside for early stopping and tuning."""
    folds: Sequence[Fold]
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""

    @classmethod
    def of(cls, plan: Plan, pipeline: Pipeline, seed: int) -> Self:
        """Fits on the folds of the plan's protocol."""
        protocol = plan.protocol
        return cls(plan.corpus, pipeline, seed, protocol.by_speaker, protocol.folds, plan.folders)

    def whole(self, features: FeatureFile, configuration: Configuration | None = None) -> Unit:
        """The fit on every clip, which predicts none."""
        rows = np.arange(len(self.corpus.clips))
        unit = self._unit(0, features, rows, rows[:0], derived_seed(self.seed, "whole"))
        unit.proposed.update(of_plugin(configuration or {}, self.pipeline.model.name))
        return unit

    def outer(self, fold: int, features: FeatureFile, configuration: Configuration | None = None) -> Unit:
        """The fit on a fold's whole training part, which predicts its test part."""
        split = self.folds[fold]
        unit = self._unit(fold, features, split.train, split.test, derived_seed(self.seed, fold))
        unit.proposed.update(of_plugin(configuration or {}, self.pipeline.model.name))
        return unit

    def inner(
        self, fold: int, features: FeatureFile, n_folds: int
    ) -> tuple[tuple[Unit, ...], list[NDArray[np.int64]]]:
        """Fits on parts of a fold's training part, each of which predicts another part of it, and the truth.

        Nothing in them, rows included, is of the fold's test part.
        """
        seed = derived_seed(self.seed, fold, "inner")
        units, targets = self._inner(fold, features, n_folds, seed, seed)
        return tuple(replace(unit, is_draft=True) for unit in units), targets

    def for_holdout(self, fold: int, features: FeatureFile, n_folds: int) -> tuple[Unit, ...]:
        """Fits as those of `inner`, for an ensemble's weights: no drafts, and on other splits.

        The splits are the same for every pipeline and seed, and none of those that a tuner has chosen by.
        """
        seed = derived_seed(self.seed, fold, "weighing")
        return self._inner(fold, features, n_folds, derived_seed(0, fold, "weighing"), seed)[0]

    def _inner(
        self, fold: int, features: FeatureFile, n_folds: int, split_seed: int, seed: int
    ) -> tuple[tuple[Unit, ...], list[NDArray[np.int64]]]:
        train = self.folds[fold].train
        splits = inner_folds(self.corpus, train, self.by_speaker, n_folds, split_seed)
        units = (
            self._unit(fold, features, split.train, split.test, derived_seed(seed, number))
            for number, split in enumerate(splits)
        )
        return tuple(units), [self.corpus.targets[split.test] for split in splits]

    def _unit(self, fold: int, features: FeatureFile, train: Rows, test: Rows, seed: int) -> Unit:
        targets = self.corpus.targets
        validation = train[:0]
        if self.pipeline.wants_validation:
            train, validation = validation_split(self.corpus, train, self.by_speaker, seed)
        return Unit(
            fold=fold,
            features=features,
            model=self.pipeline.model,
            hyperparameters=self.pipeline.hyperparameters,
            folders=self.folders,
            n_classes=len(self.corpus.labels),
            train=tuple(train.tolist()),
            train_targets=tuple(targets[train].tolist()),
            validation=tuple(validation.tolist()),
            validation_targets=tuple(targets[validation].tolist()),
            test=tuple(test.tolist()),
            seed=seed,
            version=fit_version(),
        )
