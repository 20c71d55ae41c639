"""The driver: plans units, hands them to execution, writes runs. It never trains.

One way for data: names -> plugins -> corpus -> protocol (all in `planning`) -> features from the store ->
units -> out-of-fold probabilities -> run -> leaderboard.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import numpy as np

from marsbench.environment import environment
from marsbench.evaluation.criteria import grade, verdict
from marsbench.evaluation.scoring import Predictions, score_predictions
from marsbench.evaluation.unit import Unit
from marsbench.evaluation.unit_result import Failure, UnitResult
from marsbench.execution import failure, run_units
from marsbench.experiment import Experiment
from marsbench.feature_store import FeatureFile, FeatureStore
from marsbench.files import derived_seed, require_writable
from marsbench.planning import Pipeline, Plan, make_plan
from marsbench.plugin.registry import Recipe
from marsbench.progress import Progress, Silent
from marsbench.protocols import keep_aside
from marsbench.results.predictions import write_predictions
from marsbench.results.schema import CorpusRecord, ProtocolRecord, Run
from marsbench.results.store import RunFolder


def run(experiment: Experiment, progress: Progress | None = None) -> list[tuple[RunFolder, Run]]:
    """Run every pipeline of an experiment; what an earlier call finished is reused.

    Raises:
        BenchError: what was asked for cannot be planned. An extraction or a unit that fails later is recorded
            in its run instead, and the other runs go on.
    """
    progress = progress or Silent()
    require_writable(experiment.results)
    plan = make_plan(experiment, progress)
    extraction = _Extraction(plan, progress)
    return [_run_pipeline(plan, pipeline, experiment, extraction) for pipeline in plan.pipelines]


class _Extraction:
    """Features of the plan's corpus, from the store or extracted now; each extractor is asked once."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self.progress = progress
        self._done: dict[str, FeatureFile | Failure] = {}

    def features(self, recipe: Recipe) -> FeatureFile | Failure:
        """The features, or why there are none."""
        if recipe.key not in self._done:
            self._done[recipe.key] = self._extract(recipe)
        return self._done[recipe.key]

    def _extract(self, recipe: Recipe) -> FeatureFile | Failure:
        try:
            store = FeatureStore(recipe, self._plan.folders)
            return store.features_of(self._plan.corpus, os.cpu_count() or 1, self.progress)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin or its dead worker; the other runs go on
            return failure(error)


def _run_pipeline(
    plan: Plan, pipeline: Pipeline, experiment: Experiment, extraction: _Extraction
) -> tuple[RunFolder, Run]:
    folder = _folder(plan, pipeline, experiment)
    folds, n_classes = range(len(plan.protocol.folds)), len(plan.corpus.labels)
    shapes = [(len(split.test), n_classes) for split in plan.protocol.folds]
    finished = {fold: result for fold in folds if (result := folder.unit(fold, shapes[fold]))}
    if finished:
        extraction.progress.say(
            f"{pipeline.name}: {len(finished)} of {len(folds)} folds are finished already"
        )
    failures: list[Failure] = []
    for outcome in _fit_missing(plan, pipeline, experiment.seed, set(folds) - set(finished), extraction):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            folder.write_unit(outcome)
            finished[outcome.fold] = outcome
    done = _record(plan, pipeline, experiment, finished, failures)
    if done.metrics is not None:
        rows, predictions = _pooled(plan, finished)
        write_predictions(folder.predictions, plan.corpus, rows, predictions)
    folder.write_run(done)
    return folder, done


def _folder(plan: Plan, pipeline: Pipeline, experiment: Experiment) -> RunFolder:
    run_id = pipeline.run_id(plan.protocol, experiment.seed)
    return RunFolder(experiment.results / plan.corpus.name / plan.protocol.name / run_id)


def _fit_missing(
    plan: Plan, pipeline: Pipeline, seed: int, missing: set[int], extraction: _Extraction
) -> Iterator[UnitResult | Failure]:
    if not missing:
        return
    features = extraction.features(pipeline.features)
    if isinstance(features, Failure):
        yield features
        return
    units = [_unit(plan, pipeline, features, fold, seed) for fold in sorted(missing)]
    with extraction.progress.track(f"{pipeline.name}, folds", len(units)) as advance:
        for outcome in run_units(units, extraction.progress):
            yield outcome
            advance(1)


def _unit(plan: Plan, pipeline: Pipeline, features: FeatureFile, fold: int, seed: int) -> Unit:
    split = plan.protocol.folds[fold]
    unit_seed = derived_seed(seed, fold)
    train, validation = split.train, split.train[:0]
    if pipeline.wants_validation:
        train, validation = keep_aside(plan.corpus, split.train, plan.protocol.by_speaker, unit_seed)
    return Unit(
        fold=fold,
        features=features,
        model=pipeline.model,
        hyperparameters=pipeline.hyperparameters,
        folders=plan.folders,
        n_classes=len(plan.corpus.labels),
        train=tuple(train.tolist()),
        train_targets=tuple(plan.corpus.targets[train].tolist()),
        validation=tuple(validation.tolist()),
        validation_targets=tuple(plan.corpus.targets[validation].tolist()),
        test=tuple(split.test.tolist()),
        seed=unit_seed,
    )


def _pooled(
    plan: Plan, finished: Mapping[int, UnitResult]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Predictions]:
    """Rows of the tested clips and their out-of-fold predictions, by row."""
    tests = [split.test for split in plan.protocol.folds]
    rows = np.concatenate(tests)
    order = np.argsort(rows, kind="stable")
    folds = np.repeat(np.arange(len(tests)), [len(test) for test in tests])
    probabilities = np.concatenate([np.array(finished[fold].probabilities) for fold in range(len(tests))])
    rows = rows[order]
    speakers = [plan.corpus.clips[row].speaker for row in rows]
    return rows, Predictions(probabilities[order], plan.corpus.targets[rows], folds[order], speakers)


def _record(
    plan: Plan,
    pipeline: Pipeline,
    experiment: Experiment,
    finished: Mapping[int, UnitResult],
    failures: list[Failure],
) -> Run:
    units = [finished[fold] for fold in sorted(finished)]
    complete = len(units) == len(plan.protocol.folds)
    metrics = score_predictions(_pooled(plan, finished)[1], plan.corpus.labels) if complete else None
    grades = grade(metrics, experiment.criteria) if metrics else []
    return Run(
        run_id=pipeline.run_id(plan.protocol, experiment.seed),
        status="complete" if complete else "failed",
        finished=max(
            (unit.finished for unit in units), default=datetime.now(UTC).isoformat(timespec="milliseconds")
        ),
        corpus=_corpus_record(plan),
        protocol=_protocol_record(plan),
        features=pipeline.features,
        model=pipeline.model,
        settings=pipeline.settings,
        seed=experiment.seed,
        hyperparameters=[unit.hyperparameters for unit in units],
        criteria=experiment.criteria,
        metrics=metrics,
        grades=grades,
        verdict=verdict(grades) if metrics else None,
        failures=failures,
        warnings=list(dict.fromkeys(warning for unit in units for warning in unit.warnings)),
        fit_seconds=sum(unit.fit_seconds for unit in units),
        predict_seconds=sum(unit.predict_seconds for unit in units),
        n_parameters=units[0].n_parameters if units else None,
        environment=_environments(units),
    )


def _environments(units: list[UnitResult]) -> dict[str, str]:
    """Where the units were fitted, whenever that was; a reused unit keeps its own."""
    found: dict[str, list[str]] = {}
    for unit in units:
        for name, value in unit.environment.items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: " and ".join(values) for name, values in found.items()} or environment()


def _corpus_record(plan: Plan) -> CorpusRecord:
    corpus = plan.corpus
    return CorpusRecord(
        name=corpus.name,
        dataset=plan.dataset,
        fingerprint=corpus.fingerprint,
        labels=list(corpus.labels),
        n_clips=len(corpus.clips),
        synthetic=corpus.corpus.synthetic,
        licence=corpus.corpus.licence,
        bad_audio={clip.id: clip.reason for clip in corpus.bad},
        notes=list(corpus.corpus.notes),
    )


def _protocol_record(plan: Plan) -> ProtocolRecord:
    protocol = plan.protocol
    return ProtocolRecord(
        name=protocol.name,
        hash=protocol.hash,
        by_speaker=protocol.by_speaker,
        n_folds=len(protocol.folds),
        notes=list(protocol.notes),
    )
