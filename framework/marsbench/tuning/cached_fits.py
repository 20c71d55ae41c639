"""Fits inside one fold's training clips, each kept as a file, so that none is made twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.evaluation.fit import Unit, fit_and_predict
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.predictions import Predictions
from marsbench.execution.base import Called, Outcome, Submit, Task, failure
from marsbench.features.feature_file import FeatureFile
from marsbench.plugin.registry import Recipe
from marsbench.protocols.protocol import Rows
from marsbench.results.keys import fit_name
from marsbench.results.studies import StudyFolder
from marsbench.tuning.search_space import Configuration, of_plugin, tuned_features


@dataclass(frozen=True)
class CachedFits:
    """Fits of one fold's inner splits, for any configuration."""

    name: str
    """Names of the pipeline and the fold, for screens."""
    fold: int
    units: tuple[Unit, ...]
    """One for each inner split, untuned: its `test` rows are training rows of the fold."""
    recipe: Recipe
    """Recipe of the untuned features."""
    key: str
    """One of `PipelineKey`: all that a fit depends on beside fold, split, configuration and epochs."""
    folder: StudyFolder
    others: tuple[StudyFolder, ...]
    """Folders of other runs of the same pipeline: what they fitted is not fitted again."""
    features_by: Callable[[Recipe], FeatureFile | Failure]
    submit: Submit
    say: Callable[[str], None]

    def fit(
        self, configuration: Configuration, inner: int, until: int | None = None, below: int | None = None
    ) -> UnitResult | Failure:
        """Result of a configuration on one inner split.

        Args:
            configuration: values by NAME.PARAMETER.
            inner: number of the split.
            until: epoch to pause after; None for the whole fit.
            below: epoch after which an earlier fit was paused, to resume from.
        """
        name = self._name(configuration, inner, until)
        if known := self.folder.fit(self.fold, name, self.say) or self._fitted_elsewhere(name):
            return known
        try:
            recipe = tuned_features(self.recipe, self.units[inner].folders, configuration)
        except Exception as error:  # noqa: BLE001 - an extractor may raise anything; the trial fails alone
            return failure(error)
        features = self.features_by(recipe)
        if isinstance(features, Failure):
            return features
        unit = replace(
            self.units[inner],
            features=features,
            proposed=of_plugin(configuration, self.units[inner].model.name),
            until=until,
            checkpoint=self._checkpoint(configuration, inner, below),
        )
        plugin = Called("models", unit.model.name, unit.folders)
        outcome = self.submit(Task(self._title(inner, until), partial(fit_and_predict, unit), plugin))
        return self._kept(name, outcome)

    def fit_all(self, configuration: Configuration) -> list[UnitResult] | Failure:
        """Results of a configuration's whole fits on all splits, or the first failure."""
        results: list[UnitResult] = []
        for inner in range(len(self.units)):
            result = self.fit(configuration, inner)
            if isinstance(result, Failure):
                return result
            results.append(result)
        return results

    def n_missing(self, configuration: Configuration) -> int:
        """How many of a configuration's whole fits would have to be made."""
        names = [self._name(configuration, inner, None) for inner in range(len(self.units))]
        return sum(self.folder.fit(self.fold, name, self.say) is None for name in names)

    @property
    def rows(self) -> Rows:
        """Row in the corpus of each clip of `predictions`, (n_clips,)."""
        return np.sort(np.concatenate([unit.test for unit in self.units]))

    def predictions(self, results: Sequence[UnitResult], corpus: CheckedCorpus) -> Predictions:
        """Results of all splits as predictions, whose folds are the splits; `corpus` is that of the rows."""
        tests = [unit.test for unit in self.units]
        return Predictions.of_folds(corpus, tests, [result.probabilities for result in results])

    def _fitted_elsewhere(self, name: str) -> UnitResult | None:
        """Result from another run, copied here; what failed there is tried again here."""
        for folder in self.others:
            if isinstance(known := folder.fit(self.fold, name, self.say), UnitResult):
                self.folder.write_fit(self.fold, name, known)
                return known
        return None

    def clear_checkpoints(self) -> None:
        """Delete what fits can be resumed from; called when no trial is running."""
        self.folder.clear_checkpoints(self.fold)

    def _kept(self, name: str, outcome: Outcome) -> UnitResult | Failure:
        if isinstance(outcome.value, Failure):
            if outcome.log.strip():
                self.folder.write_log(self.fold, name, outcome.log)
            self.folder.write_fit(self.fold, name, outcome.value)
            return outcome.value
        result, checkpoint = outcome.value
        if checkpoint is not None:  # first: with the result there, nobody makes the checkpoint again
            self.folder.write_checkpoint(self.fold, name, checkpoint)
        self.folder.write_fit(self.fold, name, result)
        return UnitResult.model_validate(result)

    def _checkpoint(self, configuration: Configuration, inner: int, below: int | None) -> bytes | None:
        """Checkpoint of the fit to epoch `below`; without it a fit starts over, with the same result."""
        if below is None:
            return None
        return self.folder.checkpoint(self.fold, self._name(configuration, inner, below))

    def _name(self, configuration: Configuration, inner: int, until: int | None) -> str:
        return fit_name(self.key, self.fold, inner, len(self.units), configuration, until)

    def _title(self, inner: int, until: int | None) -> str:
        climbing = f", to epoch {until}" if until else ""
        return f"{self.name}, inner {inner + 1} of {len(self.units)}{climbing}"
