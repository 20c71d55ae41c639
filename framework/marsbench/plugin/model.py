"""Base of model plugins. `SklearnModel` and `KerasModel` implement all of it except `build`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.plugin.base import Plugin
from marsbench.plugin.features import FeatureKind, Features, stacked
from marsbench.plugin.search_space import HyperParameters, Scalar

Probabilities = NDArray[np.float64]
OnEpoch = Callable[[int, int, dict[str, float]], None]
"""Called after each epoch with its number, counted from 1, the maximum number of epochs, and its metrics."""


@dataclass(frozen=True)
class Examples:
    """Features of clips and their class indices, int64 (n_clips,)."""

    features: Features
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)


def concatenate(first: Examples, second: Examples) -> Examples:
    """The examples of both, in that order."""
    features = stacked([first.features, second.features])
    return Examples(features, np.concatenate([first.targets, second.targets]))


@dataclass(frozen=True)
class FitContext:
    """Everything that a fit may use besides its training examples; test clips are not part of it."""

    n_classes: int
    seed: int
    validation: Examples | None = None
    """Training clips held out for early stopping, if the model `wants_validation`; or those of `dev`."""
    validation_is_dev: bool = False
    """Whether `validation` is the dev part of a published split: for every model, to stop early and to
    calibrate on, never to train on."""
    on_epoch: OnEpoch = lambda _epoch, _most, _metrics: None
    is_draft: bool = False
    """Whether only the most probable class of each clip will be used, so that calibration can be skipped."""
    until: int | None = None
    """Epoch after which to pause, if the model has `rungs`; None to train to the end."""
    checkpoint: bytes | None = None
    """`checkpoint_` of a paused fit with the same arguments, to resume from."""
    groups: NDArray[np.int64] | None = None
    """Group number of each training clip, (n_clips,): where a model splits them, clips of one group must stay
    together. They are of one speaker or one utterance, as the protocol has it, or duplicates. None: each
    clip is a group of its own."""
    is_version: NDArray[np.bool_] | None = None
    """Whether each training clip is a changed version of another, which has its group, (n_clips,): what a
    model holds out of its training clips is measured on the others. None: there are no versions."""


class Model(Plugin):
    """Predicts class probabilities from features."""

    starting_points: ClassVar[tuple[Mapping[str, Scalar], ...]] = ()
    """Configurations that a tuner tries first: values by hyperparameter, all others at their defaults."""
    accepts: ClassVar[FeatureKind]
    """Kind of features; a `vector` model receives the mean of `frames` over real frames."""
    n_parameters_: int | None = None
    """Number of trained parameters after a fit; None if that is not defined for the model."""
    warnings_: tuple[str, ...] = ()
    """Distinct warnings of libraries during the fit, which are recorded instead of printed."""
    history_: tuple[dict[str, float], ...] = ()
    """Metrics of each epoch after a fit; empty for models without epochs."""
    checkpoint_: bytes | None = None
    """State to resume from after a fit with `until`; contains only numbers, no code."""

    @property
    def wants_validation(self) -> bool:
        """Whether some training clips should be held out for early stopping."""
        return False

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a tuner may pause a fit and resume it later, ascending; () if it cannot."""
        return ()

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Declare all hyperparameters of a fit on such input, without fitting."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Train on `train` and return self; equal arguments give equal models.

        Raises:
            TrainingError: a loss that is NaN or infinite.
        """
        raise NotImplementedError

    def predict_proba(self, features: Features) -> Probabilities:
        """Class probabilities, float64 (n_clips, n_classes); each row sums to 1."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write the fitted model into an existing folder, in formats that execute no code when read."""
        raise NotImplementedError

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            PluginError: the folder has no model of this plugin, or one that would execute code.
        """
        raise NotImplementedError

    def onnx_graph(self) -> Any:
        """`predict_proba` of one clip as an `onnx.ModelProto`; None if not implemented.

        Its input `features` is float32 (n_dims,), or (n_frames, n_dims) without padding if the model accepts
        frames; its output `probabilities` is float32 (n_classes,). `SklearnModel` and `KerasModel` are
        converted without it.
        """
        return None
