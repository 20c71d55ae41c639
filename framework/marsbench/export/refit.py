"""A pipeline fitted on every clip of a corpus, as runs fit it on a fold's training part."""

from collections.abc import Mapping
from statistics import median
from typing import Any, cast

from marsbench.bundle.bundle import Bundle
from marsbench.bundle.record import BundleRecord, Origin, TrainingCorpus
from marsbench.corpus import CheckedCorpus
from marsbench.datasets import resolve_dataset
from marsbench.environment import environment
from marsbench.errors import ResultsError
from marsbench.evaluation.unit import fit_model
from marsbench.execution.threads import limited_threads
from marsbench.feature_store import FeatureStore
from marsbench.planning import Pipeline, checked_corpus, make_pipeline
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.registry import Registry, make
from marsbench.progress import Progress, Silent
from marsbench.results.schema import Run
from marsbench.runner.units import Units
from marsbench.tuning.search_space import tuned_features


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
    if run.metrics is None or run.verdict is None:
        raise ResultsError(f"{run.run_id} is not complete: what it is worth is not known")
    pipeline = make_pipeline(registry, run.features.name, run.model.name, run.settings)
    for now, then in ((pipeline.features, run.features), (pipeline.model, run.model)):
        if now.source != then.source:
            raise ResultsError(
                f"{now.name} has changed since {run.run_id} was made; run it again, then export that"
            )
    origin = Origin(
        run_id=run.run_id,
        protocol=run.protocol.name,
        protocol_hash=run.protocol.hash,
        by_speaker=run.protocol.by_speaker,
        criteria=run.criteria,
        metrics=run.metrics,
        verdict=run.verdict,
        pass_probability=run.pass_probability,
    )
    return fit_bundle(
        corpus, pipeline, registry, run.seed, _chosen(run), origin, progress, threads=run.threads
    )


def corpus_of(
    run: Run, registry: Registry, data: str | None = None, progress: Progress | None = None
) -> CheckedCorpus:
    """The corpus that a run was made on.

    Args:
        run: the run.
        registry: where its dataset's plugin is.
        data: a dataset's name or a path, where the corpus is now; None for where it was.
        progress: told what is under way.

    Raises:
        ResultsError: what is there now is another corpus.
        BenchError: it is not there.
    """
    dataset = run.corpus.dataset
    entry, fixed = resolve_dataset(registry, data or dataset.name)
    parameters = dataset.parameters if entry.name == dataset.name else {}
    settings = {f"{entry.name}.{name}": value for name, value in parameters.items() if name not in fixed}
    corpus = checked_corpus(registry, data or dataset.name, settings, progress or Silent())
    if corpus.fingerprint != run.corpus.fingerprint:
        raise ResultsError(
            f"the corpus '{corpus.name}' is not the one that {run.run_id} was made on: it has "
            f"{len(corpus.clips)} clips of fingerprint {corpus.fingerprint[:8]}, not {run.corpus.n_clips} of "
            f"{run.corpus.fingerprint[:8]}; name that one with --data"
        )
    return corpus


def _chosen(run: Run) -> dict[str, Any]:
    """What tuning chose, by NAME.PARAMETER; nothing for an untuned run."""
    folds = [fold for fold in run.tuning.folds if fold.inner_score is not None] if run.tuning else []
    best = max(folds, key=lambda fold: fold.inner_score or 0.0, default=None)
    return dict(best.configuration) if best else {}


def fit_bundle(  # noqa: PLR0913 - all that a fit depends on
    corpus: CheckedCorpus,
    pipeline: Pipeline,
    registry: Registry,
    seed: int,
    configuration: Mapping[str, Any] | None = None,
    origin: Origin | None = None,
    progress: Progress | None = None,
    *,
    by_speaker: bool = False,
    threads: int = 1,
) -> Bundle:
    """Fit a pipeline on all clips; there is none left to test it on."""
    chosen = dict(configuration or {})
    recipe = tuned_features(pipeline.features, registry.folders, chosen)
    extractor = cast("FeatureExtractor", make("features", recipe, registry.folders))
    apart = origin.by_speaker if origin else by_speaker
    units = Units(corpus, pipeline, seed, apart, (), registry.folders)
    with limited_threads(threads):
        features = FeatureStore(recipe, registry.folders).features_of(corpus, progress)
        model, hyperparameters, _ = fit_model(units.whole(features, chosen))
    record = BundleRecord(
        features=recipe,
        model=pipeline.model,
        hyperparameters=hyperparameters,
        labels=list(corpus.labels),
        sample_rate=extractor.sample_rate,
        input_shape=list(features.input_shape),
        corpus=_training_corpus(corpus),
        origin=origin,
        seed=seed,
        environment=environment(),
    )
    return Bundle(record, model, registry.folders)


def _training_corpus(corpus: CheckedCorpus) -> TrainingCorpus:
    seconds = [facts.seconds for facts in corpus.facts]
    return TrainingCorpus(
        name=corpus.name,
        fingerprint=corpus.fingerprint,
        n_clips=len(corpus.clips),
        longest_seconds=max(seconds),
        median_seconds=median(seconds),
        synthetic=corpus.corpus.synthetic,
        licence=corpus.corpus.licence,
    )
