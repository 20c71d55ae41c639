"""Optuna's TPE behind KerasTuner's interface.

    from marsbench.tuning.optuna_oracle import OptunaOracle
    tuner = keras_tuner.Tuner(OptunaOracle("val_accuracy", max_trials=20, seed=1), build, directory="tuning")

Nothing here needs marsbench's own plugins or runs. `OptunaOracle` is made when it is first asked for, since
importing keras_tuner imports TensorFlow.
"""

import warnings
from functools import cache
from typing import Any

import optuna

from marsbench.hashing import derived_seed
from marsbench.plugin.search_space import Dimension
from marsbench.tuning.search_space import OptunaParameter, optuna_parameter, seeded_sampler


def __getattr__(name: str) -> Any:
    if name != "OptunaOracle":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _oracle_class()


@cache
def _oracle_class() -> Any:
    import keras_tuner

    class OptunaOracle(keras_tuner.Oracle):  # type: ignore[misc]  # keras_tuner has no types
        """Proposes by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

        A proposal is a function of the seed, the trial's number and the trials that have ended, all of which
        KerasTuner stores: so a reloaded tuner continues as if it had not stopped.

        Args:
            objective: see `keras_tuner.Oracle`, as for all arguments but the following two.
            max_trials: most trials.
            seed: equal seeds and equal scores give equal proposals.
            startup_trials: random trials before the estimator learns from them.
            **settings: further arguments of `keras_tuner.Oracle`.
        """

        def __init__(
            self,
            objective: Any = None,
            max_trials: int = 10,
            seed: int = 0,
            startup_trials: int = 10,
            **settings: Any,
        ) -> None:
            # KerasTuner takes a seed of 0 for none.
            super().__init__(objective=objective, max_trials=max_trials, seed=seed + 1, **settings)
            self.startup_trials = startup_trials

        def populate_space(self, trial_id: str) -> dict[str, Any]:
            """Values for a trial; STOPPED once all proposals were tried before."""
            study = _empty_study(is_maximised=self.objective.direction == "max")
            study.add_trials([_as_optuna(trial) for trial in map(self.trials.get, self.end_order) if trial])
            for attempt in range(self._max_collisions + 1):
                seed = derived_seed(self.seed, trial_id, attempt)
                study.sampler = seeded_sampler(seed, self.startup_trials)
                values = _proposed(study, self.get_space())
                if not self._duplicate(values):
                    return {"status": "RUNNING", "values": values}
            return {"status": "STOPPED"}

        def _record_values(self, trial: Any) -> None:
            """Remember values as they are: KerasTuner changes those declared under two conditions."""
            self._tried_so_far.add(self._compute_values_hash(trial.hyperparameters.values))

    return OptunaOracle


def _empty_study(is_maximised: bool) -> optuna.Study:
    """A study in memory, made without a line on the terminal."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize" if is_maximised else "minimize")
    finally:
        optuna.logging.set_verbosity(verbosity)


def _proposed(study: optuna.Study, hp: Any) -> dict[str, Any]:
    """Values of all parameters that are active under them; `hp` lists parents before their children."""
    trial = study.ask()
    hp.values = {}
    for parameter in hp.space:
        if hp.is_active(parameter) and parameter.name not in hp.values:
            code = _optuna_parameter(parameter)
            hp.values[parameter.name] = code.decode(code.suggested(trial))
    # Nobody will tell this one: KerasTuner's own trials are what the next study is made of.
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return dict(hp.values)


def _as_optuna(trial: Any) -> optuna.trial.FrozenTrial:
    """A KerasTuner trial that has ended."""
    hp = trial.hyperparameters
    codes: dict[str, tuple[OptunaParameter, Any]] = {}
    for parameter in hp.space:
        if hp.is_active(parameter) and parameter.name in hp.values:
            codes.setdefault(parameter.name, (_optuna_parameter(parameter), hp.values[parameter.name]))
    is_scored = trial.status == "COMPLETED"
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if is_scored else optuna.trial.TrialState.FAIL,
        value=trial.score if is_scored else None,
        params={code.name: code.encode(value) for code, value in codes.values()},
        distributions={code.name: code.distribution for code, _ in codes.values()},
    )


def _optuna_parameter(parameter: Any) -> OptunaParameter:
    """How Optuna sees a parameter; one that is declared under two conditions is two to it."""
    config = parameter.get_config()
    conditions = [f"{c['config']['name']} in {c['config']['values']}" for c in config["conditions"]]
    name = " if ".join([parameter.name, *conditions])
    kind = type(parameter).__name__
    if kind not in ("Int", "Float"):
        return optuna_parameter(Dimension(name, parameter.default, _choices(parameter)))
    default = int(parameter.default) if kind == "Int" else float(parameter.default)
    low, high, step = parameter.min_value, parameter.max_value, parameter.step
    with warnings.catch_warnings():
        # Optuna warns where the last step does not reach the end of a range; KerasTuner stops short as well.
        warnings.simplefilter("ignore", UserWarning)
        return optuna_parameter(Dimension(name, default, None, low, high, step, parameter.sampling))


def _choices(parameter: Any) -> tuple[Any, ...]:
    return (False, True) if type(parameter).__name__ == "Boolean" else tuple(parameter.values)
