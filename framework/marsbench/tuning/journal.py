"""The finished trials of a run as an Optuna storage, for Optuna's own tools, and what they say of parameters.

Written beside the records that marsbench reads, so that nothing else depends on it.
"""

import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from marsbench.errors import ResultsError, StorageError, reason_of
from marsbench.evaluation.metrics import objective_title
from marsbench.results.studies import Study, Trial
from marsbench.tuning.search_space import SearchSpace, optuna_parameter

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
_LEAST = 4
"""Trials, for an importance to mean anything."""


class Journal:
    """One Optuna study a fold, named fold-K from 1; begun anew with each command.

    Args:
        path: the file.
        origin: what the studies are of, by name: user attributes of each, for optuna-dashboard.
    """

    def __init__(self, path: Path, origin: Mapping[str, str]) -> None:
        self._path = path
        self._origin = origin
        self._studies: dict[int, optuna.Study] = {}
        self._storage: JournalStorage | None = None

    def keep(self, study: Study, space: SearchSpace) -> None:
        """Add the trials that are not there yet; raises StorageError if they cannot be written.

        None while trial 0 may still go on: what is added cannot be changed.
        """
        if study.ended is None and study.untuned_waits:
            return
        try:
            there = self._study(study)
            for trial in study.trials[len(there.get_trials(deepcopy=False)) :]:
                there.add_trial(_frozen(trial, space))
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {reason_of(error)}") from error

    def _study(self, kept: Study) -> optuna.Study:
        if self._storage is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Also the lock that Optuna held when an earlier command was killed: the run's folder is ours.
            for old in [self._path, *self._path.parent.glob(f"{self._path.name}.*")]:
                old.unlink(missing_ok=True)
            self._storage = JournalStorage(JournalFileBackend(str(self._path)))
        if kept.fold not in self._studies:
            name = f"fold-{kept.fold + 1}"
            made = optuna.create_study(storage=self._storage, study_name=name, direction="maximize")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                made.set_metric_names([objective_title(kept.objective)])
            for attribute, value in self._origin.items():
                made.set_user_attr(attribute, value)
            self._studies[kept.fold] = made
        return self._studies[kept.fold]


def _frozen(trial: Trial, space: SearchSpace) -> FrozenTrial:
    active = space.active(trial.configuration)
    codes = [optuna_parameter(dimension) for dimension in active if dimension.name in trial.configuration]
    attributes = {"configuration": trial.configuration, "reason": trial.reason, "same as": trial.same_as}
    shared: dict[str, Any] = {
        "state": STATES[trial.state],
        "value": trial.score if trial.state == "complete" else None,
        "intermediate_values": trial.steps,
        "user_attrs": {name: value for name, value in attributes.items() if value is not None},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of choices that are no plain values
        try:
            frozen = create_trial(
                params={code.name: code.encode(trial.configuration[code.dimension.name]) for code in codes},
                distributions={code.name: code.distribution for code in codes},
                **shared,
            )
        except ValueError:  # a default may lie outside of its range: Optuna has no place for it
            frozen = create_trial(**shared)
    frozen.datetime_complete = datetime.fromisoformat(trial.finished).astimezone().replace(tzinfo=None)
    frozen.datetime_start = frozen.datetime_complete - timedelta(seconds=trial.seconds)
    return frozen


def importances(journal: Path) -> dict[str, float]:
    """Share of each parameter in the variance of the score, largest first; empty for few or equal trials.

    By fANOVA (Hutter et al. 2014) over the trials of all folds, each at its score after the first step: most
    trials are pruned later, and scores are comparable at one step only. Parameters that are not active in
    every trial are left out.

    Raises:
        ResultsError: there is no such Optuna storage.
    """
    trials = _first_steps(journal)
    if len(trials) < _LEAST or len({trial.value for trial in trials}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def _first_steps(journal: Path) -> list[FrozenTrial]:
    if not journal.is_file():
        raise ResultsError(f"{journal} is missing: the run was not tuned, or its folder is not whole")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        names = sorted(study.study_name for study in storage.get_all_studies())
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(f"{journal} is damaged: {error}") from error
    return [
        create_trial(
            state=TrialState.COMPLETE,
            params=trial.params,
            distributions=trial.distributions,
            value=trial.intermediate_values[min(trial.intermediate_values)],
        )
        for study in studies
        for trial in study.get_trials(deepcopy=False)
        if trial.intermediate_values
    ]
