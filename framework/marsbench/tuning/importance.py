"""Which parameters decided the score."""

import warnings
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from marsbench.errors import ResultsError

_LEAST = 4
"""Trials, for an importance to mean anything."""


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


def _first_steps(journal: Path) -> list[optuna.trial.FrozenTrial]:
    if not journal.is_file():
        raise ResultsError(f"{journal} is missing: the run was not tuned, or its folder is not whole")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        studies = [optuna.load_study(study_name=name, storage=storage) for name in _names(storage)]
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


def _names(storage: JournalStorage) -> list[str]:
    return sorted(study.study_name for study in storage.get_all_studies())
