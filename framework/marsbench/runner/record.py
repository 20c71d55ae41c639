"""From finished units to the record of a run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from statistics import fmean
from typing import Any, get_args

from marsbench.config import Criteria, Tuning, is_transductive
from marsbench.data.voices import limits
from marsbench.environment import environment
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.metrics import maximised
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Metrics, grade, least_confidence, verdict
from marsbench.evaluation.scoring import (
    confidences,
    new_speaker,
    resample,
    score_predictions,
    speakers_of,
)
from marsbench.planning.plans import Plan
from marsbench.protocols.protocol import Protocol
from marsbench.results.schema import (
    NORMALISED,
    CorpusRecord,
    FoldCorpora,
    FoldTuning,
    LeakageRecord,
    ProtocolRecord,
    Run,
    TuningRecord,
)
from marsbench.results.studies import Study, TrialState


def build_record(
    finished: Mapping[int, UnitResult],
    failures: Mapping[int | None, Failure],
    predictions: Predictions | None,
    criteria: Criteria,
    members: Sequence[Run] = (),
    *,
    independent_clips: bool = False,
    **origin: Any,
) -> Run:
    """The run with its scores, or with the reasons why it has none.

    Args:
        finished: results of the finished folds.
        failures: reasons by fold; None for all folds.
        predictions: out-of-fold predictions if every fold is finished, else None.
        criteria: thresholds that the scores are graded by.
        members: runs that it is made of: their costs are summed, their warnings and environments included.
        independent_clips: whether no two clips without a speaker are of one.
        origin: fields of `Run` for the pipeline and its data.
    """
    units = [finished[fold] for fold in sorted(finished)]
    scored: dict[str, Any] = {"metrics": None, "grades": [], "verdict": None}
    if predictions is not None:
        scored = graded(predictions, criteria, origin["protocol"].by_speaker, independent_clips)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    by = origin.get("normalise")
    stated = [NORMALISED[by]] if by and is_transductive(by) else []
    warnings = chain(stated, *(run.warnings for run in members), *(unit.warnings for unit in units))
    return Run(
        **origin,
        **(_costs_of_members(members) if members else _costs(units)),
        **scored,
        independent_clips=independent_clips,
        status="complete" if scored["metrics"] else "failed",
        finished=max((unit.finished for unit in units), default=now),
        hyperparameters=[unit.hyperparameters for unit in units],
        criteria=criteria,
        n_speakers=None if predictions is None else len(set(predictions.speakers) - {None}),
        failures=[failures[fold] for fold in sorted(failures, key=lambda fold: -1 if fold is None else fold)],
        warnings=list(dict.fromkeys(warnings)),
        environment=_environment(
            [*(run.environment for run in members), *(unit.environment for unit in units)]
        ),
    )


def graded(
    predictions: Predictions, criteria: Criteria, by_speaker: bool, independent_clips: bool
) -> dict[str, Any]:
    """Scores, what follows by each criterion, and what limits that, as fields of `Run`."""
    draws = resample(predictions)
    metrics = score_predictions(predictions, draws)
    found = list(limits(speakers_of(predictions), by_speaker=by_speaker, independent=independent_clips))
    grades = grade(metrics, criteria, confidences(draws, criteria, predictions.labels), found)
    return {
        "metrics": metrics,
        "grades": grades,
        "verdict": verdict(grades),
        "limits": found,
        "pass_confidence": least_confidence(grades),
        "new_speaker": new_speaker(predictions) if by_speaker else None,
    }


def tuning_record(tuning: Tuning, studies: Sequence[Study], metrics: Metrics | None) -> TuningRecord:
    """What each fold's study came to, once every fold is there."""
    scores = {fold.fold: fold for fold in metrics.folds} if metrics else {}
    counts = {study.fold: Counter(trial.state for trial in study.trials) for study in studies}
    return TuningRecord(
        asked=tuning,
        folds=[
            FoldTuning(
                fold=study.fold,
                best=study.chosen.number if study.chosen else None,
                configuration=study.chosen.configuration if study.chosen else {},
                inner_score=study.chosen.score if study.chosen else None,
                outer_score=maximised(study.objective, scores[study.fold].scores[study.objective]),
                untuned_score=study.untuned_score,
                **{state: counts[study.fold][state] for state in get_args(TrialState)},
                ended=study.ended or "",
            )
            for study in studies
            if study.fold in scores
        ],
    )


def _costs(units: Sequence[UnitResult]) -> dict[str, Any]:
    """Times and sizes of one pipeline, as fields of `Run`."""
    sizes = [unit.model_bytes for unit in units if unit.model_bytes is not None]
    return {
        "fit_seconds": sum(unit.fit_seconds for unit in units),
        "predict_seconds": sum(unit.predict_seconds for unit in units),
        "n_parameters": units[0].n_parameters if units else None,
        "extraction_seconds": units[0].extraction_seconds if units else None,
        "model_bytes": round(fmean(sizes)) if sizes else None,
    }


def _costs_of_members(runs: Sequence[Run]) -> dict[str, Any]:
    """The same, summed over the members of an ensemble; None where one is unknown."""
    by_name = {name: [getattr(run, name) for run in runs] for name in _costs([])}
    return {name: None if None in values else sum(values) for name, values in by_name.items()}


def _environment(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Where units were fitted, then or earlier; values that differ are joined."""
    found: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, value in part.items():
            found.setdefault(name, {})[value] = None
    return {name: " and ".join(values) for name, values in found.items()} or environment()


def corpus_record(plan: Plan) -> CorpusRecord:
    """What a run keeps of its corpus."""
    corpus = plan.corpus
    return CorpusRecord(
        name=corpus.name,
        dataset=plan.datasets[0],
        joined=list(plan.datasets[1:]),
        reading=plan.reading,
        fingerprint=corpus.fingerprint,
        labels=list(corpus.labels),
        n_clips=len(corpus.clips),
        synthetic=corpus.corpus.synthetic,
        licence=corpus.corpus.licence,
        bad_audio={clip.id: clip.reason for clip in corpus.bad},
        notes=list(corpus.corpus.notes),
        held_out=[clip.id for clip in corpus.held_out],
    )


@lru_cache(maxsize=4)
def protocol_record(protocol: Protocol) -> ProtocolRecord:
    """What a run keeps of its protocol; one for all runs, as it may name thousands of duplicates."""
    return ProtocolRecord(
        name=protocol.name,
        hash=protocol.hash,
        by_speaker=protocol.by_speaker,
        together=protocol.together,
        n_folds=len(protocol.folds),
        notes=list(protocol.notes),
        description=protocol.description,
        leakage=LeakageRecord(**vars(protocol.leakage)),
        corpora=[FoldCorpora(train=list(fold.train), test=list(fold.test)) for fold in protocol.corpora],
    )
