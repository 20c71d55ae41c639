"""The sampler that proposes, whoever asks."""

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning


def seeded_sampler(seed: int, startup_trials: int) -> optuna.samplers.BaseSampler:
    """TPE over all parameters together, after so many trials at random."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `multivariate` and `group`
        return optuna.samplers.TPESampler(
            n_startup_trials=startup_trials, multivariate=True, group=True, seed=seed
        )
