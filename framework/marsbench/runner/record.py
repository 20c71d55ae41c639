"""From finished units to the record of a run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from statistics import fmean
from typing import Any, get_args

import numpy as np

from marsbench.config import Criteria, Experiment, Tuning
from marsbench.environment import environment
from marsbench.evaluation.criteria import Grade, grade, verdict
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.intervals import resample
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Metrics
from marsbench.evaluation.scoring import odds_of, score_predictions
from marsbench.planning import Pipeline, Plan
from marsbench.plugin.registry import Recipe
from marsbench.results.comparison import Member
from marsbench.results.schema import (
    CorpusRecord,
    EnsembleRecord,
    FoldTuning,
    LeakageRecord,
    ProtocolRecord,
    Run,
    TuningRecord,
)
from marsbench.results.studies import Study, TrialState


def pooled(plan: Plan, finished: Mapping[int, UnitResult]) -> Predictions:
    """The out-of-fold predictions of a run; every fold is needed."""
    tests = [split.test for split in plan.protocol.folds]
    probabilities = [finished[fold].probabilities for fold in range(len(tests))]
    return Predictions.of_folds(plan.corpus, tests, probabilities)


def recorded(
    plan: Plan,
    pipeline: Pipeline,
    experiment: Experiment,
    finished: Mapping[int, UnitResult],
    failures: Mapping[int | None, Failure],
    tuning: Tuning | None = None,
    studies: Sequence[Study] = (),
) -> Run:
    """The run with its scores, or with the reasons why it has none."""
    units = [finished[fold] for fold in sorted(finished)]
    complete = len(units) == len(plan.protocol.folds)
    scored = graded(pooled(plan, finished), experiment.criteria) if complete else None
    metrics, grades, pass_probability = scored or (None, [], None)
    sizes = [unit.model_bytes for unit in units if unit.model_bytes is not None]
    return Run(
        run_id=pipeline.run_id(plan.protocol, experiment.seed, experiment.threads, tuning),
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
        threads=experiment.threads,
        hyperparameters=[unit.hyperparameters for unit in units],
        criteria=experiment.criteria,
        metrics=metrics,
        grades=grades,
        verdict=verdict(grades) if metrics else None,
        pass_probability=pass_probability,
        failures=[failures[fold] for fold in sorted(failures, key=lambda fold: -1 if fold is None else fold)],
        warnings=list(dict.fromkeys(warning for unit in units for warning in unit.warnings)),
        fit_seconds=sum(unit.fit_seconds for unit in units),
        predict_seconds=sum(unit.predict_seconds for unit in units),
        n_parameters=units[0].n_parameters if units else None,
        extraction_seconds=units[0].extraction_seconds if units else None,
        model_bytes=round(fmean(sizes)) if sizes else None,
        environment=environments([unit.environment for unit in units]),
        tuning=_tuning_record(tuning, studies, metrics) if tuning else None,
    )


def graded(predictions: Predictions, criteria: Criteria) -> tuple[Metrics, list[Grade], float]:
    """Scores, what follows by each criterion, and the probability of meeting all."""
    draws = resample(predictions)
    metrics = score_predictions(predictions, draws)
    odds, all_met = odds_of(draws, criteria, predictions.labels)
    return metrics, grade(metrics, criteria, odds), all_met


def _tuning_record(tuning: Tuning, studies: Sequence[Study], metrics: Metrics | None) -> TuningRecord:
    """What each fold's study came to, once every fold is there."""
    scores = {fold.fold: fold for fold in metrics.folds} if metrics else {}
    counts = {study.fold: Counter(trial.state for trial in study.trials) for study in studies}
    return TuningRecord(
        asked=tuning,
        folds=[
            FoldTuning(
                fold=study.fold,
                best=study.best.number if study.best else None,
                configuration=study.best.configuration if study.best else {},
                inner_score=study.best.score if study.best else None,
                outer_score=getattr(scores[study.fold], study.objective),
                **{state: counts[study.fold][state] for state in get_args(TrialState)},
                ended=study.ended or "",
            )
            for study in studies
            if study.fold in scores
        ],
    )


def environments(of_units: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Where units were fitted, whenever that was; a reused unit keeps its own."""
    found: dict[str, list[str]] = {}
    for of_unit in of_units:
        for name, value in of_unit.items():
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
        description=protocol.description,
        leakage=LeakageRecord(
            speakers_shared=protocol.leakage.speakers_shared,
            statements_shared=protocol.leakage.statements_shared,
            exact_groups=[list(group) for group in protocol.leakage.exact_groups],
            near_groups=[list(group) for group in protocol.leakage.near_groups],
            dropped_duplicates=list(protocol.leakage.dropped_duplicates),
        ),
    )


FEATURES = "ensemble"
"""Stands where other runs name their feature extractor."""


def model_name(inner_folds: int) -> str:
    """What stands where other runs name their model."""
    return "log_pool" if inner_folds else "mean"


def fused_predictions(members: Sequence[Member], finished: Mapping[int, UnitResult]) -> Predictions:
    """The ensemble's predictions, row for row of the same clips as its members'; every fold is needed."""
    clips = members[0].predictions
    probabilities = np.empty_like(clips.probabilities)
    for fold, unit in finished.items():
        probabilities[clips.folds == fold] = unit.probabilities
    return clips.with_probabilities(probabilities)


def recorded_ensemble(
    run_id: str,
    members: Sequence[Member],
    inner_folds: int,
    criteria: Criteria,
    finished: Mapping[int, UnitResult],
    failures: Mapping[int, Failure],
) -> Run:
    """The run with its scores, or with the reasons why it has none.

    Times, sizes and parameters are the sums of the members': who uses the ensemble uses all of them.
    """
    runs = [member.run for member in members]
    ids = [run.run_id for run in runs]
    units = [finished[fold] for fold in sorted(finished)]
    complete = len(units) == runs[0].protocol.n_folds
    scored = graded(fused_predictions(members, finished), criteria) if complete else None
    metrics, grades, pass_probability = scored or (None, [], None)
    origins = [*(run.environment for run in runs), *(unit.environment for unit in units)]
    warnings = chain(*(run.warnings for run in runs), *(unit.warnings for unit in units))
    return Run(
        run_id=run_id,
        status="complete" if complete else "failed",
        finished=max(
            (unit.finished for unit in units), default=datetime.now(UTC).isoformat(timespec="milliseconds")
        ),
        corpus=runs[0].corpus,
        protocol=runs[0].protocol,
        features=Recipe(FEATURES, {}, "", {}),
        model=Recipe(model_name(inner_folds), {"inner_folds": inner_folds} if inner_folds else {}, "", {}),
        settings={},
        seed=0,
        threads=max(run.threads for run in runs),
        hyperparameters=[unit.hyperparameters for unit in units],
        criteria=criteria,
        metrics=metrics,
        grades=grades,
        verdict=verdict(grades) if metrics else None,
        pass_probability=pass_probability,
        failures=[failures[fold] for fold in sorted(failures)],
        warnings=list(dict.fromkeys(warnings)),
        fit_seconds=sum(run.fit_seconds for run in runs),
        predict_seconds=sum(run.predict_seconds for run in runs),
        n_parameters=_sum(run.n_parameters for run in runs),
        extraction_seconds=_sum(run.extraction_seconds for run in runs),
        model_bytes=_sum(run.model_bytes for run in runs),
        environment=environments(origins),
        ensemble=EnsembleRecord(
            members=[member.record for member in members],
            inner_folds=inner_folds,
            weights=[[float(unit.hyperparameters[run_id]) for run_id in ids] for unit in units],
        ),
    )


def _sum(values: Iterable[float | None]) -> Any:
    """Sum, None if any is unknown."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
