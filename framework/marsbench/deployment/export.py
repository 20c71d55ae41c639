"""Export: a run, whose configuration is fitted again, or a bundle becomes a bundle or one ONNX file.

A run is fitted on all clips of its corpus, or on a fold's training part as in the run.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import at_work, home, write_atomically
from marsbench.config import Places, is_transductive
from marsbench.data.audio import resample
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle, EnsembleBundle
from marsbench.deployment.bundle_files import (
    AnyBundle,
    Sample,
    golden_samples,
    naming_member,
    read_bundle,
    read_samples,
    write_bundle,
)
from marsbench.deployment.bundle_record import (
    BaseRecord,
    BundledMember,
    BundleRecord,
    EnsembleBundleRecord,
    TrainingCorpus,
)
from marsbench.deployment.choice import best_over_folds
from marsbench.deployment.formats import DEFAULT_FORMAT
from marsbench.deployment.formats.onnx import TOLERANCE, end_to_end, require_graph
from marsbench.deployment.model_format import find_format
from marsbench.deployment.novelty import novelty_of
from marsbench.deployment.origin import by_clips, origin_of
from marsbench.environment import environment
from marsbench.errors import BenchError, ConfigError, ExportError
from marsbench.evaluation.fit import Unit, fit_model, probabilities_of
from marsbench.execution.limits import limited_threads
from marsbench.features.store import stored_features
from marsbench.planning.pipelines import Pipeline
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Registry, make
from marsbench.progress import Progress
from marsbench.results.schema import EnsembleRecord, Run
from marsbench.results.store import RunFolder
from marsbench.runner import reload
from marsbench.runner.pipeline_job import Units
from marsbench.tuning.search_space import Configuration, tuned_features

Source = tuple[AnyBundle, list[Sample]]
"""A fitted pipeline or ensemble, and clips by which to verify what is written."""


@dataclass(frozen=True)
class Target:
    """A bundle, or with `end_to_end` one ONNX file from waveform to probabilities."""

    form: str = DEFAULT_FORMAT
    """Name of the model's format."""
    quantised: str | None = None
    """Number type of its weights; None: as trained."""
    end_to_end: bool = False

    @property
    def tolerance(self) -> float:
        """Largest difference of a probability from the bundle in memory; raises ExportError."""
        return TOLERANCE if self.end_to_end else find_format(self.form).tolerance_of(self.quantised)

    def require(self, pipelines: Sequence[Run | BundleRecord], registry: Registry) -> None:
        """Refuse what cannot be written, before anything is fitted; several are the members of an ensemble.

        Raises:
            ExportError: one cannot be written in this format, or several were to be one file.
            PluginError: a plugin is not there.
        """
        is_ensemble = len(pipelines) > 1
        if self.end_to_end and is_ensemble:
            raise ExportError(_not_one_file(len(pipelines)))
        for number, one in enumerate(pipelines):
            title = f"{one.features.name} + {one.model.name}"
            with naming_member(number, title) if is_ensemble else nullcontext():
                if self.end_to_end:
                    _require_single_clip(one)
                    require_graph(registry.get("features", one.features.name))
                find_format(self.form).require(registry.get("models", one.model.name), self.quantised)

    def write(self, bundle: AnyBundle, samples: Sequence[Sample], path: Path) -> BaseRecord:
        """Write what `require` accepts, check that it predicts `samples` as the bundle, return its record.

        Raises:
            ExportError: it cannot be converted, or predicts otherwise.
            ResultsError: it predicts otherwise.
            StorageError: it cannot be written.
        """
        if not self.end_to_end:
            return write_bundle(bundle, path, samples, self.form, self.quantised)
        if isinstance(bundle, EnsembleBundle):
            raise ExportError(_not_one_file(len(bundle.members)))
        return _write_end_to_end(bundle, samples, path)


def _not_one_file(n_members: int) -> str:
    return (
        f"an ensemble of {n_members} pipelines cannot be one file; leave --end-to-end out for a bundle with "
        "an ONNX file of each model, or export its members one by one"
    )


def _require_single_clip(pipeline: Run | BundleRecord) -> None:
    if pipeline.versions and pipeline.versions.averaged:
        raise ExportError(
            "one ONNX file predicts a clip, not the mean over its versions; leave --end-to-end out for a "
            "bundle that does, or export a run made without --average-versions"
        )


def _write_end_to_end(bundle: Bundle, samples: Sequence[Sample], path: Path) -> BaseRecord:
    record = bundle.record
    clips = [resample(sample.waveform, record.sample_rate).samples for sample in samples]
    facts = {"corpus": record.corpus.name, "licence": record.corpus.licence}
    if record.origin is not None:
        facts["run"] = record.origin.run_id
    if record.versions is not None:
        facts["trained_on"] = f"clips and {record.versions.phrase}"
    data = end_to_end(bundle.extractor, bundle.model, bundle.labels, clips, facts).SerializeToString()
    write_atomically(path, lambda file: file.write(data))
    return record


def source_of_run(
    folder: RunFolder,
    data: Places,
    fold: int | None,
    target: Target,
    registry: Registry,
    progress: Progress,
    seconds: float = inf,
) -> Source:
    """Fit a run or an ensemble again, with the plugins' code of today.

    A tuned run is fitted on all clips in the configuration with the best mean score over its folds; fits that
    find it may take about `seconds`, see `choice.best_over_folds`. An ensemble keeps the weights of its fold,
    or the means over folds. `progress` is told which plugins have changed since the run, and then whether the
    refit of fold 1 reproduces the run's predictions.

    `data` is the name or path of the corpus now, None for where it was; `fold` is the number, from 1, of the
    fold whose training part is fitted on, None for all clips.

    Raises:
        ResultsError: the run is not complete, a member is gone, or the protocol or the corpus has changed.
        ConfigError: there is no such fold.
        ExportError: `Target.require` refuses.
        BenchError: a plugin or the corpus is missing, or a plugin fails.
    """
    run = folder.read_run()
    members = reload.members_of(folder, run)
    if is_transductive(run.normalise):
        raise ExportError(
            f"{run.run_id} cannot be exported: its features are standardised by all clips of each "
            f"{run.normalise}, and a bundle gets one clip at a time; export a run made without --normalise"
        )
    target.require([member.read_run() for member in members], registry)
    corpus = reload.corpus_of(run, registry, data, progress)
    with at_work("an export", folder.path.parents[2], home()):
        bundle = _Refit(corpus, registry, progress, seconds / len(members)).bundle(folder, fold)
    return bundle, list(golden_samples(corpus))


def source_of_bundle(folder: Path, target: Target, registry: Registry, progress: Progress) -> Source:
    """Read a bundle whose model is in its plugin's own format; `progress` is told its warning.

    Raises:
        ExportError: it is of another format, or `Target.require` refuses.
        BenchError: as `read_bundle`.
    """
    bundle = read_bundle(folder, registry, progress)
    if bundle.record.form != DEFAULT_FORMAT:
        raise ExportError(
            f"the model in {folder} is in the format '{bundle.record.form}'; export from the run, or from a "
            "bundle made without --format"
        )
    pipelines = bundle.members if isinstance(bundle, EnsembleBundle) else [bundle]
    target.require([pipeline.record for pipeline in pipelines], registry)
    return bundle, read_samples(folder, bundle.record)


def fit_bundle(
    corpus: CheckedCorpus,
    pipeline: Pipeline,
    registry: Registry,
    seed: int,
    progress: Progress | None = None,
    *,
    together: Sequence[str] = (),
) -> Bundle:
    """Fit a pipeline on all clips, so that none is left to test it on; raises CorpusError.

    Clips that are equal in all attributes of `together` stay together in splits inside the fit; each of these
    must be known of some clip.
    """
    corpus.require_attributes(together)
    with at_work("a fit", home()):
        return _fit(Units(corpus, pipeline, seed, tuple(together), (), registry.folders), {}, progress)[0]


class _Fitted(NamedTuple):
    """A pipeline's bundle and its predictions of a fold's test clips; of none if it was fitted on all."""

    bundle: Bundle
    clips: list[str]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class _Refit:
    """Fits configurations of finished runs of one corpus again, on all clips or on a fold's training part.

    `number` is the number of the fold, from 1; None for all clips.
    """

    corpus: CheckedCorpus
    registry: Registry
    progress: Progress
    seconds: float
    """For fits that find the best configuration of one tuned run."""

    def bundle(self, folder: RunFolder, number: int | None) -> AnyBundle:
        """The bundle of a run or of an ensemble."""
        run = folder.read_run()
        reload.require_complete(run)
        if run.ensemble is not None:
            bundle: AnyBundle = self._ensemble(folder, run, run.ensemble, number)
        else:
            bundle = self._pipeline(folder, number).bundle
        pipelines = bundle.members if isinstance(bundle, EnsembleBundle) else [bundle]
        fitted = [pipeline.record for pipeline in pipelines]
        origin = origin_of(run).model_copy(update=by_clips(folder, self.corpus, fitted, self.progress))
        record: Any = bundle.record.model_copy(update={"origin": origin})  # of the bundle's own kind
        return replace(bundle, record=record)

    def _pipeline(self, folder: RunFolder, number: int | None) -> _Fitted:
        if number is not None:
            return self._fold(folder, number)
        run = folder.read_run()
        units = reload.units_of(run, self.corpus, self.registry)
        if reload.changed_plugins(run, units.pipeline, self.progress):
            try:
                self._fold(folder, 1, is_told=True)
            except BenchError as error:
                self.progress.say(f"Fold 1 of {run.run_id} cannot be fitted again to compare it: {error}")
        choice = best_over_folds(folder, self.corpus, self.registry, self.progress, self.seconds)
        bundle, _ = _fit(units, choice.configuration, self.progress, run=run)
        bundle = replace(bundle, record=bundle.record.model_copy(update={"choice": choice.record}))
        return _Fitted(bundle, [], np.empty((0, len(bundle.labels))))

    def _fold(self, folder: RunFolder, number: int, *, is_told: bool = False) -> _Fitted:
        """Fit a fold and compare it with the run; `is_told`: that plugins have changed is known."""
        run = folder.read_run()
        fold = _fold_of(run, number)
        units = reload.units_of(run, self.corpus, self.registry, reload.folds_of(folder, run, self.corpus))
        has_changed = is_told or bool(reload.changed_plugins(run, units.pipeline, self.progress))
        bundle, unit = _fit(units, reload.chosen_by(run, fold), self.progress, run=run, fold=fold)
        model = cast("Model", bundle.model)
        clips = [self.corpus.clips[row].id for row in unit.test]
        probabilities = probabilities_of(unit, model, unit.test)
        reload.compare_with_run(folder, fold, clips, probabilities, self.progress, always=has_changed)
        return _Fitted(bundle, clips, probabilities)

    def _ensemble(
        self, folder: RunFolder, run: Run, ensemble: EnsembleRecord, number: int | None
    ) -> EnsembleBundle:
        fold = None if number is None else _fold_of(run, number)
        weights = np.mean(ensemble.weights, axis=0).tolist() if fold is None else ensemble.weights[fold]
        members = reload.members_of(folder, run)
        fits: list[_Fitted] = []
        for position, member in enumerate(members, 1):
            label = f"Member {position} of {len(members)}, {member.path.name}"
            with self.progress.track(label, 1) as advance:
                fits.append(self._pipeline(member, number))
                advance(1)
        bundle = _fused(run, ensemble, [fit.bundle for fit in fits], weights, fold)
        if fold is not None:
            fused = bundle.fuse(np.stack([fit.probabilities for fit in fits]))
            reload.compare_with_run(folder, fold, fits[0].clips, fused, self.progress)
        return bundle


def _fold_of(run: Run, number: int) -> int:
    """Fold from 0, as it is stored, of a number from 1."""
    if number not in range(1, run.protocol.n_folds + 1):
        raise ConfigError(f"{run.run_id} has folds 1 to {run.protocol.n_folds}; there is no fold {number}")
    return number - 1


def _fit(
    units: Units,
    configuration: Configuration,
    progress: Progress | None,
    *,
    run: Run | None = None,
    fold: int | None = None,
) -> tuple[Bundle, Unit]:
    """Fit on all clips, or on the training part of a fold, from 0."""
    corpus, folders, versions = units.corpus, units.folders, units.pipeline.versions
    recipe = tuned_features(units.pipeline.features, folders, configuration)
    with limited_threads(run.threads if run else 1):
        features = stored_features(corpus, recipe, folders, versions, progress)
        if fold is None:
            unit = units.whole(features, configuration)
        else:
            unit = units.outer(fold, features, configuration)
        model, hyperparameters, _ = fit_model(unit)
    rows = [*unit.train.tolist(), *unit.validation.tolist()]
    record = BundleRecord(
        features=recipe,
        model=units.pipeline.model,
        hyperparameters=hyperparameters,
        labels=list(corpus.labels),
        sample_rate=cast("FeatureExtractor", make("features", recipe, folders)).sample_rate,
        channel=corpus.clips[0].channel,
        input_shape=list(features.input_shape),
        corpus=_training_corpus(corpus, rows),
        origin=origin_of(run) if run else None,
        fold=fold,
        seed=units.seed,
        versions=versions,
        environment=environment(),
    )
    measure = novelty_of(features, corpus, rows)
    return Bundle(record, model, folders, measure=measure), unit


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


def _fused(
    run: Run, ensemble: EnsembleRecord, bundles: Sequence[Bundle], weights: Sequence[float], fold: int | None
) -> EnsembleBundle:
    records = [bundle.record for bundle in bundles]
    record = EnsembleBundleRecord(
        labels=records[0].labels,
        sample_rate=max(record.sample_rate for record in records),
        channel=records[0].channel,
        corpus=records[0].corpus,
        origin=origin_of(run),
        fold=fold,
        environment=environment(),
        fusion="log_pool" if ensemble.inner_folds else "mean",
        members=[
            BundledMember(title=record.title, run_id=member.run_id, weight=weight)
            for record, member, weight in zip(records, ensemble.members, weights, strict=True)
        ],
    )
    return EnsembleBundle(record, tuple(bundles), bundles[0].folders)
