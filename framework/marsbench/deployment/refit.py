"""A run's configuration fitted again, as the run fitted it: on all clips of its corpus, or on a fold's."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_record import BundleRecord, Origin, TrainingCorpus
from marsbench.environment import environment
from marsbench.errors import ConfigError
from marsbench.evaluation.criteria import Outcome
from marsbench.evaluation.fit import Unit, features_of, fit_model
from marsbench.evaluation.scores import Metrics
from marsbench.execution.threads import limited_threads
from marsbench.features.store import FeatureFile, FeatureStore
from marsbench.planning import Pipeline
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Registry, make
from marsbench.progress import Progress, Silent
from marsbench.results.predictions import read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.reload import chosen_by, folds_of, units_of
from marsbench.runner.units import Units
from marsbench.tuning.search_space import Configuration, tuned_features

_SAME = 1e-5
"""Most that a model which was fitted again may differ in a probability."""


class FoldFit(NamedTuple):
    """The model of a fold and what it says to the fold's test clips."""

    bundle: Bundle
    clips: list[str]
    """Their ids in the corpus."""
    probabilities: NDArray[np.float64]
    """(n_clips, n_classes)."""


def refit(run: Run, corpus: CheckedCorpus, registry: Registry, progress: Progress | None = None) -> Bundle:
    """The configuration of a run, fitted on all clips of its corpus.

    Of a tuned run it is the configuration that had the best inner score of those which its folds chose.

    Args:
        run: a complete run.
        corpus: `corpus_of` it.
        registry: where its plugins are.
        progress: told what is under way.

    Raises:
        ResultsError: the run is not complete, or its plugins are no longer what they were.
    """
    units = units_of(run, corpus, registry)
    chosen = _best_of_folds(run)
    return _fit(units, partial(units.whole, configuration=chosen), chosen, progress, run=run).bundle


def refit_fold(
    folder: RunFolder,
    number: int,
    corpus: CheckedCorpus,
    registry: Registry,
    progress: Progress | None = None,
) -> FoldFit:
    """The model of one of a run's folds, fitted again on that fold's training part.

    `progress` is told if it does not answer the fold's test clips as it did in the run.

    Args:
        folder: of a complete run.
        number: of the fold, from 1.
        corpus: `corpus_of` the run.
        registry: where its plugins are.
        progress: told what is under way.

    Raises:
        ConfigError: there is no such fold.
        ResultsError: as `refit`; or the protocol is no longer what it was.
    """
    run = folder.read_run()
    fold = fold_of(run, number)
    units = units_of(run, corpus, registry, folds_of(folder, run, corpus))
    chosen = chosen_by(run, fold)
    bundle, unit = _fit(
        units, partial(units.outer, fold, configuration=chosen), chosen, progress, run=run, fold=fold
    )
    model = cast("Model", bundle.model)
    fit = FoldFit(
        bundle,
        [corpus.clips[row].id for row in unit.test],
        model.predict_proba(features_of(unit, model, unit.test)),
    )
    tell_if_otherwise(folder, number, fit.clips, fit.probabilities, progress)
    return fit


def fold_of(run: Run, number: int) -> int:
    """A fold's number from 1 as it is counted in files, from 0; raises ConfigError if there is none."""
    if number not in range(1, run.protocol.n_folds + 1):
        raise ConfigError(f"{run.run_id} has folds 1 to {run.protocol.n_folds}; there is no fold {number}")
    return number - 1


def tell_if_otherwise(
    folder: RunFolder,
    number: int,
    clips: Sequence[str],
    probabilities: NDArray[np.float64],
    progress: Progress | None,
) -> None:
    """Tell `progress` if a fold's test clips are answered otherwise than the run recorded."""
    recorded = read_predictions(folder, folder.read_run()).of_clips(clips)
    away = float(np.abs(probabilities - recorded.probabilities).max())
    if away > _SAME:
        (progress or Silent()).say(
            f"fold {number}, fitted again, answers its test clips otherwise than in the run, by up to "
            f"{away:.1e}: this is another machine, or has other versions"
        )


def fit_bundle(
    corpus: CheckedCorpus,
    pipeline: Pipeline,
    registry: Registry,
    seed: int,
    progress: Progress | None = None,
    *,
    by_speaker: bool = False,
) -> Bundle:
    """Fit a pipeline on all clips; there is none left to test it on, and no run that did."""
    units = Units(corpus, pipeline, seed, by_speaker, (), registry.folders)
    return _fit(units, units.whole, {}, progress).bundle


class _Fitted(NamedTuple):
    bundle: Bundle
    unit: Unit


def _fit(
    units: Units,
    unit_of: Callable[[FeatureFile], Unit],
    configuration: Configuration,
    progress: Progress | None,
    *,
    run: Run | None = None,
    fold: int | None = None,
) -> _Fitted:
    """Fit one of the units of a run, or of none."""
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
        origin=origin_of(run) if run else None,
        fold=fold,
        seed=units.seed,
        environment=environment(),
    )
    return _Fitted(Bundle(record, model, folders), unit)


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


def origin_of(run: Run) -> Origin:
    """What a bundle tells of a complete run."""
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


def _best_of_folds(run: Run) -> Configuration:
    """What tuning chose, by NAME.PARAMETER; nothing for an untuned run."""
    folds = [fold for fold in run.tuning.folds if fold.inner_score is not None] if run.tuning else []
    best = max(folds, key=lambda fold: fold.inner_score or 0.0, default=None)
    return dict(best.configuration) if best else {}
