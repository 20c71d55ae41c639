"""What an ensemble's weights are fitted on: predictions of clips inside each fold's training part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from marsbench.evaluation.fit import fit_version
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.predictions import Predictions
from marsbench.execution.base import Submit, failure
from marsbench.features.store import FeatureFile
from marsbench.hashing import digest
from marsbench.results.studies import StudyFolder
from marsbench.runner.resources import Resources
from marsbench.runner.units import Units
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.search_space import Configuration, tuned_features


class InnerPredictions(NamedTuple):
    """One pipeline's predictions inside a fold's training part."""

    predictions: Predictions
    """Of the clips that an inner fit is not trained on, the same for every pipeline; a fold is a split."""
    fits: tuple[UnitResult, ...]
    """One a split."""


@dataclass(frozen=True)
class HoldoutPredictions:
    """Fits pipelines on parts of each fold's training clips, each fit kept as a file.

    The test part of the fold is no part of any of it.
    """

    protocol_hash: str
    n_folds: int
    """Splits of each fold's training clips."""
    threads: int
    place: Resources
    folder: StudyFolder
    """Where fits are kept."""
    others: tuple[StudyFolder, ...]
    """Folders of other jobs: what they fitted is not fitted again."""
    say: Callable[[str], None]

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
        features = self._features(units, configuration)
        if isinstance(features, Failure):
            return features
        inner = units.for_holdout(fold, features, self.n_folds)
        fits = CachedFits(
            name=f"{units.pipeline.name}, fold {fold + 1}",
            fold=fold,
            units=inner,
            recipe=units.pipeline.features,
            context=self.context(units),
            folder=self.folder,
            others=self.others,
            features_by=self.place.features_by,
            submit=submit,
            say=self.say,
        )
        results: list[UnitResult] = []
        for number in range(len(inner)):
            result = fits.fit(configuration, number)
            if isinstance(result, Failure):
                return result
            results.append(result)
        tests = [np.array(unit.test) for unit in inner]
        probabilities = [result.probabilities for result in results]
        return InnerPredictions(Predictions.of_folds(units.corpus, tests, probabilities), tuple(results))

    def context(self, units: Units) -> str:
        """Digest of everything that a fit depends on beside fold, split and configuration."""
        pipeline = units.pipeline
        keys = [self.protocol_hash, pipeline.features.key, pipeline.model.key]
        return digest([*keys, pipeline.hyperparameters, units.seed, self.threads, fit_version(), "weighing"])

    def _features(self, units: Units, configuration: Configuration) -> FeatureFile | Failure:
        try:
            recipe = tuned_features(units.pipeline.features, units.folders, configuration)
        except Exception as error:  # noqa: BLE001 - an extractor may raise anything; the fold fails with its reason
            return failure(error)
        return self.place.features_by(recipe)
