"""Fits on all clips of a corpus, or on a fold's training part as in a run, that become bundles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle, EnsembleBundle
from marsbench.deployment.bundle_files import AnyBundle
from marsbench.deployment.bundle_record import (
    BundledMember,
    BundleRecord,
    EnsembleBundleRecord,
    Origin,
    TrainingCorpus,
)
from marsbench.environment import environment
from marsbench.errors import BenchError, ConfigError
from marsbench.evaluation.fit import Unit, features_of, fit_model
from marsbench.evaluation.scores import Metrics, Outcome
from marsbench.execution.limits import limited_threads
from marsbench.features.store import FeatureFile, FeatureStore
from marsbench.planning import Pipeline
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Registry, make
from marsbench.progress import Progress
from marsbench.results.schema import EnsembleRecord, Run
from marsbench.results.store import RunFolder
from marsbench.runner.pipeline_job import Units
from marsbench.runner.reload import (
    changed_plugins,
    chosen_by,
    compare_with_run,
    folds_of,
    members_of,
    require_complete,
    units_of,
)
from marsbench.tuning.search_space import Configuration, tuned_features

_Fit = TypeVar("_Fit")


def fit_bundle(
    corpus: CheckedCorpus,
    pipeline: Pipeline,
    registry: Registry,
    seed: int,
    progress: Progress | None = None,
    *,
    by_speaker: bool = False,
) -> Bundle:
    """Fit a pipeline on all clips, so that none is left to test it on."""
    units = Units(corpus, pipeline, seed, by_speaker, (), registry.folders)
    return _fit(units, units.whole, {}, progress)[0]


class FoldFit(NamedTuple):
    """The model of a fold and its predictions of the fold's test clips."""

    bundle: Bundle
    clips: list[str]
    """Ids of the test clips."""
    probabilities: NDArray[np.float64]
    """(n_clips, n_classes)."""


@dataclass(frozen=True)
class Refit:
    """Fits configurations of finished runs again, with the plugins' code of today.

    `progress` is told which plugins have changed since a run, and then whether the refit of fold 1 reproduces
    the run's predictions.
    """

    corpus: CheckedCorpus
    """Corpus of the runs, see `corpus_of`."""
    registry: Registry
    progress: Progress

    def bundle(self, folder: RunFolder, number: int | None = None) -> AnyBundle:
        """A run or an ensemble fitted on all clips, or on the training part of fold `number` (from 1).

        A tuned run is fitted on all clips in the configuration with the best inner score over its folds. An
        ensemble keeps the weights of its fold, or the means over folds.

        Raises:
            ResultsError: the run is not complete, a member is gone, or the protocol has changed.
            ConfigError: there is no such fold.
            BenchError: a plugin is missing or fails.
        """
        run = folder.read_run()
        require_complete(run)
        if run.ensemble is not None:
            return self._ensemble(folder, run, run.ensemble, number)
        return self._whole(folder) if number is None else self._fold(folder, number).bundle

    def _whole(self, folder: RunFolder) -> Bundle:
        run = folder.read_run()
        units = units_of(run, self.corpus, self.registry)
        if changed_plugins(run, units.pipeline, self.progress):
            try:
                self._fold(folder, 1, is_told=True)
            except BenchError as error:
                self.progress.say(f"Fold 1 of {run.run_id} cannot be fitted again to compare it: {error}")
        chosen = _best_of_folds(run)
        return _fit(units, partial(units.whole, configuration=chosen), chosen, self.progress, run=run)[0]

    def _fold(self, folder: RunFolder, number: int, *, is_told: bool = False) -> FoldFit:
        """Fit fold `number` and compare it with the run; `is_told`: that plugins have changed is known."""
        run = folder.read_run()
        fold = _fold_of(run, number)
        units = units_of(run, self.corpus, self.registry, folds_of(folder, run, self.corpus))
        has_changed = is_told or bool(changed_plugins(run, units.pipeline, self.progress))
        chosen = chosen_by(run, fold)
        unit_of = partial(units.outer, fold, configuration=chosen)
        bundle, unit = _fit(units, unit_of, chosen, self.progress, run=run, fold=fold)
        model = cast("Model", bundle.model)
        clips = [self.corpus.clips[row].id for row in unit.test]
        fit = FoldFit(bundle, clips, model.predict_proba(features_of(unit, model, unit.test)))
        compare_with_run(folder, fold, fit.clips, fit.probabilities, self.progress, always=has_changed)
        return fit

    def _ensemble(
        self, folder: RunFolder, run: Run, ensemble: EnsembleRecord, number: int | None
    ) -> EnsembleBundle:
        members = members_of(folder, run)
        if number is None:
            weights = np.mean(ensemble.weights, axis=0).tolist()
            return _fused(run, self._each(members, self._whole), weights)
        fold = _fold_of(run, number)
        fits = self._each(members, partial(self._fold, number=number))
        bundle = _fused(run, [fit.bundle for fit in fits], ensemble.weights[fold], fold)
        fused = bundle.fuse(np.stack([fit.probabilities for fit in fits]))
        compare_with_run(folder, fold, fits[0].clips, fused, self.progress)
        return bundle

    def _each(self, members: Sequence[RunFolder], fit: Callable[[RunFolder], _Fit]) -> list[_Fit]:
        fits = []
        for number, member in enumerate(members, 1):
            label = f"Member {number} of {len(members)}, {member.path.name}"
            with self.progress.track(label, 1) as advance:
                fits.append(fit(member))
                advance(1)
        return fits


def _fold_of(run: Run, number: int) -> int:
    """Fold from 0, as it is stored, of a number from 1; raises ConfigError if there is none."""
    if number not in range(1, run.protocol.n_folds + 1):
        raise ConfigError(f"{run.run_id} has folds 1 to {run.protocol.n_folds}; there is no fold {number}")
    return number - 1


def _best_of_folds(run: Run) -> Configuration:
    """Configuration with the best inner score, by NAME.PARAMETER; {} for an untuned run."""
    folds = [fold for fold in run.tuning.folds if fold.inner_score is not None] if run.tuning else []
    best = max(folds, key=lambda fold: fold.inner_score or 0.0, default=None)
    return dict(best.configuration) if best else {}


def _fit(
    units: Units,
    unit_of: Callable[[FeatureFile], Unit],
    configuration: Configuration,
    progress: Progress | None,
    *,
    run: Run | None = None,
    fold: int | None = None,
) -> tuple[Bundle, Unit]:
    """Fit one of the units, of a run or of none."""
    corpus, folders = units.corpus, units.folders
    recipe = tuned_features(units.pipeline.features, folders, configuration)
    with limited_threads(run.threads if run else 1):
        features = FeatureStore(recipe, folders).features_of(corpus, progress)
        unit = unit_of(features)
        model, hyperparameters, _ = fit_model(unit)
    record = BundleRecord(
        features=recipe,
        model=units.pipeline.model,
        hyperparameters=hyperparameters,
        labels=list(corpus.labels),
        sample_rate=cast("FeatureExtractor", make("features", recipe, folders)).sample_rate,
        input_shape=list(features.input_shape),
        corpus=_training_corpus(corpus, [*unit.train, *unit.validation]),
        origin=_origin(run) if run else None,
        fold=fold,
        seed=units.seed,
        environment=environment(),
    )
    return Bundle(record, model, folders), unit


def _training_corpus(corpus: CheckedCorpus, rows: Sequence[int]) -> TrainingCorpus:
    seconds = [corpus.facts[row].seconds for row in rows]
    return TrainingCorpus(
        name=corpus.name,
        fingerprint=corpus.fingerprint,
        n_clips=len(rows),
        longest_seconds=max(seconds),
        median_seconds=median(seconds),
        lowest_sample_rate=min(corpus.facts[row].sample_rate for row in rows),
        synthetic=corpus.corpus.synthetic,
        licence=corpus.corpus.licence,
    )


def _origin(run: Run) -> Origin:
    protocol = run.protocol
    return Origin(
        run_id=run.run_id,
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        by_speaker=protocol.by_speaker,
        criteria=run.criteria,
        metrics=cast("Metrics", run.metrics),
        verdict=cast("Outcome", run.verdict),
        pass_probability=run.pass_probability,
    )


def _fused(
    run: Run, bundles: Sequence[Bundle], weights: Sequence[float], fold: int | None = None
) -> EnsembleBundle:
    """The bundle of an ensemble's run, of its members' bundles."""
    ensemble = cast("EnsembleRecord", run.ensemble)
    records = [bundle.record for bundle in bundles]
    record = EnsembleBundleRecord(
        labels=records[0].labels,
        sample_rate=max(record.sample_rate for record in records),
        corpus=records[0].corpus,
        origin=_origin(run),
        fold=fold,
        environment=environment(),
        fusion="log_pool" if ensemble.inner_folds else "mean",
        members=[
            BundledMember(title=record.title, run_id=member.run_id, weight=weight)
            for record, member, weight in zip(records, ensemble.members, weights, strict=True)
        ],
    )
    return EnsembleBundle(record, tuple(bundles), bundles[0].folders)
