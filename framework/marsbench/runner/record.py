"""From finished units to the record of a run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import chain
from statistics import fmean
from typing import Any, Self, get_args

from marsbench.config import Criteria, Tuning
from marsbench.environment import environment
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Grade, Metrics, grade, verdict
from marsbench.evaluation.scoring import odds_of, resample, score_predictions
from marsbench.planning import Plan
from marsbench.plugin.registry import Recipe
from marsbench.protocols.protocol import Protocol
from marsbench.results.schema import (
    CorpusRecord,
    FoldTuning,
    LeakageRecord,
    ProtocolRecord,
    Run,
    TuningRecord,
)
from marsbench.results.studies import Study, TrialState


@dataclass(frozen=True)
class Origin:
    """The pipeline and data of a run; fields are those of `Run`."""

    run_id: str
    corpus: CorpusRecord
    protocol: ProtocolRecord
    features: Recipe
    model: Recipe
    settings: dict[str, Any]
    seed: int
    threads: int


@dataclass(frozen=True)
class Costs:
    """Times and sizes of a run; fields are those of `Run`."""

    fit_seconds: float
    predict_seconds: float
    n_parameters: int | None
    extraction_seconds: float | None
    model_bytes: int | None

    @classmethod
    def of_units(cls, units: Sequence[UnitResult]) -> Self:
        """Costs of one pipeline, by its finished units."""
        sizes = [unit.model_bytes for unit in units if unit.model_bytes is not None]
        return cls(
            fit_seconds=sum(unit.fit_seconds for unit in units),
            predict_seconds=sum(unit.predict_seconds for unit in units),
            n_parameters=units[0].n_parameters if units else None,
            extraction_seconds=units[0].extraction_seconds if units else None,
            model_bytes=round(fmean(sizes)) if sizes else None,
        )

    @classmethod
    def of_members(cls, runs: Sequence[Run]) -> Self:
        """Sums over the members of an ensemble, None where one is unknown."""
        return cls(**{one.name: _sum(getattr(run, one.name) for run in runs) for one in fields(cls)})


def build_record(
    origin: Origin,
    units: Sequence[UnitResult],
    failures: Mapping[int | None, Failure],
    predictions: Predictions | None,
    criteria: Criteria,
    costs: Costs,
    members: Sequence[Run] = (),
) -> Run:
    """The run with its scores, or with the reasons why it has none.

    Args:
        origin: the pipeline and its data.
        units: results of the finished folds, by fold.
        failures: reasons by fold; None for all folds.
        predictions: out-of-fold predictions if every fold is finished, else None.
        criteria: thresholds that the scores are graded by.
        costs: times and sizes.
        members: runs that it is made of; their warnings and environments are included.
    """
    scored = graded(predictions, criteria) if predictions is not None else None
    metrics, grades, pass_probability = scored or (None, [], None)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    warnings = chain(*(run.warnings for run in members), *(unit.warnings for unit in units))
    return Run(
        **vars(origin),
        **vars(costs),
        status="complete" if scored else "failed",
        finished=max((unit.finished for unit in units), default=now),
        hyperparameters=[unit.hyperparameters for unit in units],
        criteria=criteria,
        metrics=metrics,
        grades=grades,
        verdict=verdict(grades) if metrics else None,
        pass_probability=pass_probability,
        failures=[failures[fold] for fold in sorted(failures, key=lambda fold: -1 if fold is None else fold)],
        warnings=list(dict.fromkeys(warnings)),
        environment=_environment(
            [*(run.environment for run in members), *(unit.environment for unit in units)]
        ),
    )


def graded(predictions: Predictions, criteria: Criteria) -> tuple[Metrics, list[Grade], float]:
    """Scores, what follows by each criterion, and the probability of meeting all."""
    draws = resample(predictions)
    metrics = score_predictions(predictions, draws)
    odds, all_met = odds_of(draws, criteria, predictions.labels)
    return metrics, grade(metrics, criteria, odds), all_met


def tuning_record(tuning: Tuning, studies: Sequence[Study], metrics: Metrics | None) -> TuningRecord:
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
        dataset=plan.dataset,
        fingerprint=corpus.fingerprint,
        labels=list(corpus.labels),
        n_clips=len(corpus.clips),
        synthetic=corpus.corpus.synthetic,
        licence=corpus.corpus.licence,
        bad_audio={clip.id: clip.reason for clip in corpus.bad},
        notes=list(corpus.corpus.notes),
    )


def protocol_record(protocol: Protocol) -> ProtocolRecord:
    """What a run keeps of its protocol."""
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
            takes_shared=protocol.leakage.takes_shared,
            exact_groups=[list(group) for group in protocol.leakage.exact_groups],
            near_groups=[list(group) for group in protocol.leakage.near_groups],
            dropped_duplicates=list(protocol.leakage.dropped_duplicates),
        ),
    )


def _sum(values: Iterable[float | None]) -> Any:
    """Sum, None if any is unknown."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
