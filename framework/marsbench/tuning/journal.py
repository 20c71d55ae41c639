"""The finished trials of a run as an Optuna storage, for Optuna's own tools.

Written beside the records that marsbench reads, so that nothing depends on it.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from marsbench.errors import StorageError
from marsbench.results.studies import Study, Trial
from marsbench.tuning.search_space import SearchSpace, optuna_parameter


class Journal:
    """One Optuna study a fold, named fold-K from 1; begun anew with each command."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._studies: dict[int, optuna.Study] = {}
        self._storage: JournalStorage | None = None

    def keep(self, study: Study, space: SearchSpace) -> None:
        """Add the trials that are not there yet; raises StorageError if they cannot be written."""
        with _storage_errors(self._path):
            if self._storage is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                # Also the lock that Optuna held when an earlier command was killed: the run's folder is ours.
                for old in [self._path, *self._path.parent.glob(f"{self._path.name}.*")]:
                    old.unlink(missing_ok=True)
                self._storage = JournalStorage(JournalFileBackend(str(self._path)))
            if study.fold not in self._studies:
                self._studies[study.fold] = optuna.create_study(
                    storage=self._storage, study_name=f"fold-{study.fold + 1}", direction="maximize"
                )
            there = self._studies[study.fold]
            for trial in study.trials[len(there.get_trials(deepcopy=False)) :]:
                there.add_trial(_frozen(trial, space))


def _frozen(trial: Trial, space: SearchSpace) -> optuna.trial.FrozenTrial:
    codes = {
        d.name: optuna_parameter(d)
        for d in space.active(trial.configuration)
        if d.name in trial.configuration
    }
    params = {code.name: code.encode(trial.configuration[name]) for name, code in codes.items()}
    frozen = _created(trial, params, {code.name: code.distribution for code in codes.values()})
    frozen.datetime_complete = datetime.fromisoformat(trial.finished).astimezone().replace(tzinfo=None)
    frozen.datetime_start = frozen.datetime_complete - timedelta(seconds=trial.seconds)
    return frozen


def _created(trial: Trial, params: dict[str, Any], distributions: dict[str, Any]) -> optuna.trial.FrozenTrial:
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
            return optuna.trial.create_trial(params=params, distributions=distributions, **shared)
        except ValueError:  # a default may lie outside of its range: Optuna has no place for it
            return optuna.trial.create_trial(**shared)


STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
