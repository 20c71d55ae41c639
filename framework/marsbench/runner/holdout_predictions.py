"""Predictions of clips inside each fold's training part: the weights of ensembles are fitted on them."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.predictions import Predictions
from marsbench.execution.base import Submit, failure
from marsbench.features.store import FeatureFile
from marsbench.results.studies import StudyFolder
from marsbench.runner.pipeline_job import pipeline_key
from marsbench.runner.resources import Resources
from marsbench.runner.units import Units
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.search_space import Configuration, tuned_features


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
        threads = self.place.asked.threads
        fits = CachedFits(
            name=f"{units.pipeline.name}, fold {fold + 1}",
            fold=fold,
            units=inner,
            recipe=units.pipeline.features,
            key=pipeline_key(self.protocol_hash, units.pipeline, units.seed, threads).holdout_fits,
            folder=self.folder,
            others=self.others,
            features_by=partial(self.place.features_of, units.corpus, units.folders),
            submit=submit,
            say=self.place.progress.say,
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

    def features(self, units: Units, configuration: Configuration) -> FeatureFile | Failure:
        """Features of the corpus for a pipeline in some configuration, or why there are none."""
        try:
            recipe = tuned_features(units.pipeline.features, units.folders, configuration)
        except Exception as error:  # noqa: BLE001 - an extractor may raise anything; the fold fails with its reason
            return failure(error)
        return self.place.features_of(units.corpus, units.folders, recipe)
