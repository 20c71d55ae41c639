"""What a model plugin is. `SklearnModel` and `KerasModel` leave only `build` to write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.plugin.base import Plugin
from marsbench.plugin.features import FeatureKind, Features
from marsbench.plugin.search_space import HyperParameters, Scalar

Probabilities = NDArray[np.float64]
OnEpoch = Callable[[int, int, dict[str, float]], None]
"""Called after each epoch with its number from 1, the most there can be, and its metrics."""


@dataclass(frozen=True)
class Examples:
    """Features with the class index of each, int64 (n_clips,)."""

    features: Features
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)


def joined(first: Examples, second: Examples) -> Examples:
    """The examples of both."""
    values = np.concatenate([first.features.values, second.features.values])
    lengths = np.concatenate([first.features.lengths, second.features.lengths])
    return Examples(Features(values, lengths), np.concatenate([first.targets, second.targets]))


@dataclass(frozen=True)
class FitContext:
    """Everything a fit may know beside its training examples; nothing of the test part is in it."""

    n_classes: int
    seed: int
    validation: Examples | None = None
    """A part of the training clips kept aside for early stopping, if the model `wants_validation`."""
    on_epoch: OnEpoch = lambda _epoch, _most, _metrics: None
    is_draft: bool = False
    """Whether only the most probable class of each clip will be looked at: no need to calibrate then."""
    until: int | None = None
    """Epoch to stop after for the time being, if the model has `rungs`; None for a fit in one go."""
    checkpoint: bytes | None = None
    """`checkpoint_` of a fit of equal arguments that stopped earlier, to go on from."""


class Model(Plugin):
    """Features -> class probabilities."""

    starting_points: ClassVar[tuple[Mapping[str, Scalar], ...]] = ()
    """Values by hyperparameter that a tuner should try first, all others at their defaults."""
    accepts: ClassVar[FeatureKind]
    """A `vector` model given `frames` is handed their mean over real frames."""
    n_parameters_: int | None = None
    """Trained numbers, once fitted, where the notion makes sense."""
    warnings_: tuple[str, ...] = ()
    """What libraries warned of during the fit, each once; to be told, not printed."""
    history_: tuple[dict[str, float], ...] = ()
    """Metrics by epoch, once fitted, where there are epochs."""
    checkpoint_: bytes | None = None
    """What a later fit can go on from, after a fit with `until`; numbers only, nothing that is executed."""

    @property
    def wants_validation(self) -> bool:
        """Whether some training clips should be kept aside for early stopping."""
        return False

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a tuner may stop a fit and go on with it later, rising; () if it cannot."""
        return ()

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Ask `hp` for everything that a fit on such input would ask for, without fitting."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Train on `train`; equal arguments give equal models.

        Raises:
            TrainingError: a loss that is NaN or infinite.
        """
        raise NotImplementedError

    def predict_proba(self, features: Features) -> Probabilities:
        """Probability of each class, float64 (n_clips, n_classes), rows summing to 1."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write the fitted model into an existing folder, in formats that execute no code when read."""
        raise NotImplementedError

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            PluginError: not a model of this plugin, or one that would execute code.
        """
        raise NotImplementedError
