"""From the weights of an ensemble to its run's record."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from marsbench.evaluation.criteria import Criteria, verdict
from marsbench.evaluation.unit_result import Failure, UnitResult
from marsbench.plugin.registry import Recipe
from marsbench.results.members import Member
from marsbench.results.predictions import class_names, predictions_of, with_probabilities
from marsbench.results.schema import EnsembleRecord, Run
from marsbench.runner.record import environments, graded

FEATURES = "ensemble"
"""Stands where other runs name their feature extractor."""


def model_name(inner_folds: int) -> str:
    """What stands where other runs name their model."""
    return "log_pool" if inner_folds else "mean"


def fused_table(members: Sequence[Member], finished: Mapping[int, UnitResult]) -> pd.DataFrame:
    """The ensemble's predictions, row for row of the same clips as its members'; every fold is needed."""
    table = members[0].table
    folds = table["fold"].to_numpy()
    fused = np.empty((len(table), len(class_names(table))))
    for fold, unit in finished.items():
        fused[folds == fold] = unit.probabilities
    return with_probabilities(table, fused)


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
    labels = runs[0].corpus.labels
    scored = graded(predictions_of(fused_table(members, finished)), labels, criteria) if complete else None
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
