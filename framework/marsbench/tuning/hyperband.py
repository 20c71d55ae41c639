"""KerasTuner's Hyperband (Li et al. 2018), made to begin with the untuned configuration and to repeat itself.

KerasTuner is imported late: it imports TensorFlow.
"""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from marsbench.hashing import derived_seed
from marsbench.plugin.keras.setup import import_keras
from marsbench.plugin.search_space import Scalar
from marsbench.results.studies import Trial

_FACTOR = 3
"""One of so many configurations goes on from a rung, for about so many times the epochs."""


@dataclass(frozen=True)
class Proposal:
    """What KerasTuner wants to know the score of."""

    number: int
    values: dict[str, Scalar]
    """By PARAMETER."""
    epochs: int
    parent: int | None
    """Trial that it goes on from."""


class Search(Protocol):
    """A study under way, which scores what Hyperband proposes."""

    n_trials: int
    """Most trials; a configuration that goes on is another one."""
    epochs: int
    """Most epochs of a trial: the model's last rung."""
    pinned: frozenset[str]
    """The model's parameters that are set by hand and stay at its defaults."""
    by_hand: dict[str, Scalar]
    """Values that are set by hand, by PARAMETER."""
    seed: int
    folder: Path
    """Where KerasTuner's own project may stand."""

    def declare(self, hp: Any) -> None:
        """Let the model ask KerasTuner for all that it asks for."""

    def may_begin(self, number: int) -> bool:
        """Whether there is to be such a trial."""

    def trial(self, proposal: Proposal) -> Trial:
        """What comes of a proposal."""


def hyperband(search: Search) -> Any:
    """KerasTuner's Hyperband over a search, not begun; its project is made anew."""
    keras_tuner = import_keras_tuner()
    oracle = type("Oracle", (_Oracle, keras_tuner.oracles.HyperbandOracle), {})(search)
    return type("Tuner", (_Tuner, keras_tuner.Hyperband), {})(search, oracle)


_Above: Any = object
"""In place of KerasTuner's classes, which are known only once it is imported."""


class _Tuner(_Above):  # type: ignore[misc]
    """What differs from `keras_tuner.Hyperband`."""

    def __init__(self, search: Search, oracle: Any) -> None:
        self._search = search
        # Hyperband's own __init__ leaves no choice of its oracle.
        super(import_keras_tuner().Hyperband, self).__init__(
            oracle=oracle,
            hypermodel=search.declare,
            directory=str(search.folder),
            project_name="keras_tuner",
            overwrite=True,
        )

    def _populate_initial_space(self) -> None:
        """Open each `conditional_scope` once; KerasTuner itself draws without a seed, maybe for ever."""
        waiting: list[Any] = [[]]
        for conditions in waiting:  # grows on the way
            hp = self.oracle.get_space()
            hp.values |= {condition.name: condition.values[0] for condition in conditions}
            _settle(hp)
            try:
                self._search.declare(hp)
            except Exception:
                if not conditions:
                    raise
                continue  # a value under which the model cannot be built leads nowhere
            self.oracle.update_space(hp)
            waiting += [scope for scope in hp.inactive_scopes if scope not in waiting]

    def search(self) -> None:
        """Run trials; KerasTuner's own loop prints each failure and swallows what is to end the search."""
        while (trial := self.oracle.create_trial(self.tuner_id)).status == "RUNNING":
            try:
                self.oracle.update_trial(trial.trial_id, self.run_trial(trial))
                trial.status = "COMPLETED"
            except import_keras_tuner().errors.FailedTrialError as error:
                trial.status, trial.message = "FAILED", str(error)
            self.on_trial_end(trial)

    def run_trial(self, trial: Any) -> dict[str, float]:
        """Score of a trial; raises FailedTrialError."""
        scored = self._search.trial(self.oracle.proposal(trial))
        if scored.score is None:
            raise import_keras_tuner().errors.FailedTrialError(scored.reason)
        return {"score": scored.score}


class _Oracle(_Above):  # type: ignore[misc]
    """What differs from KerasTuner's Hyperband oracle.

    It begins with the untuned configuration, then with a bracket that the number of trials suffices for.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        super().__init__(
            objective=import_keras_tuner().Objective("score", "max"),
            max_epochs=search.epochs,
            factor=_FACTOR,
            hyperband_iterations=None,  # the number of trials ends it
            seed=1 + derived_seed(search.seed, "keras-tuner"),  # 0 would be none
            max_consecutive_failed_trials=None,  # each fails alone
        )
        self.verbose = 0
        self._current_bracket: int = self._fitting_bracket()
        # The fewest epochs of this bracket, so that no later one begins with fewer.
        self.min_epochs = search.epochs / _FACTOR ** (self._current_bracket + 0.5)
        self._brackets: list[Any] = []
        self._start_new_bracket()

    def _fitting_bracket(self) -> int:
        """The one that prunes most of those that can be finished, the untuned configuration aside."""
        for bracket in range(self._current_bracket, 0, -1):
            sizes = [self._get_size(bracket, rung) for rung in range(self._get_num_rounds(bracket))]
            if sum(sizes) < self._search.n_trials:
                return bracket
        return 0

    def update_space(self, hyperparameters: Any) -> None:
        """Learn of new parameters; what is set by hand is fixed."""
        learnt = import_keras_tuner().HyperParameters()
        learnt.merge([_fixed(parameter, self._search) for parameter in hyperparameters.space])
        super().update_space(learnt)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values of a trial, if there is to be one."""
        if not self._search.may_begin(int(trial_id)):
            return {"status": "STOPPED"}
        values: dict[str, Any] | None
        if int(trial_id) == 0:
            values = {**self._to_the_end(), "tuner/initial_epoch": 0}
        else:
            values = super().populate_space(trial_id).get("values") or self._last_climb()
        if not values:
            return {"status": "STOPPED"}
        hp = self.get_space()
        hp.values = values
        _settle(hp)  # a trial that goes on may not have known parameters that came up since
        return {"status": "RUNNING", "values": hp.values}

    def proposal(self, trial: Any) -> Proposal:
        """Proposal of a trial, with the parameters that only its network asks for."""
        hp = trial.hyperparameters
        with suppress(Exception):  # the fit will tell
            self._search.declare(hp)
        by_hand = self._search.pinned.union(self._search.by_hand)
        names = dict.fromkeys(parameter.name for parameter in hp.space if parameter.name not in by_hand)
        values = {name: hp.values[name] for name in names if hp.is_active(name)}
        parent = hp.values.get("tuner/trial_id")
        number, epochs = int(trial.trial_id), hp.values["tuner/epochs"]
        return Proposal(number, values, epochs, None if parent is None else int(parent))

    def _record_values(self, trial: Any) -> None:
        """Remember what is tried; KerasTuner itself would change it.

        Of a name that is declared under two conditions, it drops the value or draws another, without a seed.
        """
        self._tried_so_far.add(self._compute_values_hash(trial.hyperparameters.values))

    def _last_climb(self) -> dict[str, Any] | None:
        """Without new configurations left, the best of those that stopped early goes on to the end."""
        tried = {name: trial.hyperparameters.values for name, trial in self.trials.items()}
        parents = {values.get("tuner/trial_id") for values in tried.values()}
        stopped = [
            trial
            for name, trial in self.trials.items()
            if trial.status == "COMPLETED"
            and name not in parents
            and tried[name]["tuner/epochs"] < self.max_epochs
        ]
        if not stopped:
            return None
        best = max(stopped, key=lambda trial: (trial.score, -int(trial.trial_id))).trial_id
        own = {"tuner/trial_id": best, "tuner/initial_epoch": tried[best]["tuner/epochs"]}
        return {**tried[best], **self._to_the_end(), **own}

    def _to_the_end(self) -> dict[str, Any]:
        return {"tuner/epochs": self.max_epochs, "tuner/bracket": 0, "tuner/round": 0}


def _fixed(parameter: Any, search: Search) -> Any:
    """A parameter, or what is set by hand in its place."""
    if parameter.name in search.by_hand:
        value = search.by_hand[parameter.name]
    elif parameter.name in search.pinned:
        value = parameter.default
    else:
        return parameter
    fixed = import_keras_tuner().engine.hyperparameters.Fixed
    return fixed(parameter.name, value, conditions=parameter.conditions)


def _settle(hp: Any) -> None:
    """Give each active parameter a value, its default where it has none, and none to others."""
    for parameter in hp.space:  # parents before their children
        if hp.is_active(parameter):
            hp.values.setdefault(parameter.name, parameter.default)
        elif not hp.is_active(parameter.name):
            hp.values.pop(parameter.name, None)


@cache
def import_keras_tuner() -> Any:
    """Module `keras_tuner`, which imports TensorFlow."""
    import_keras()  # first: without its noise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras_tuner
    return keras_tuner
