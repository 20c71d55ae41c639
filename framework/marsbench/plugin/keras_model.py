"""Base of Keras models: a subclass writes `build`, the rest is here."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, isnan
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from marsbench.errors import PluginError, TrainingError
from marsbench.plugin.features import FeatureKind, Features, Floats
from marsbench.plugin.model import Examples, FitContext, Model, Probabilities
from marsbench.plugin.scaling import Scaling
from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.tensorflow_setup import import_keras, make_deterministic

_NETWORK = "model.keras"
_SCALING = "scaling.npz"


@dataclass
class KerasModel(Model):
    """A Keras network on features standardised by the training clips.

    Two fits with equal arguments are bit-identical on one machine. For that, a fit sets the process's global
    seeds and leaves TensorFlow's deterministic operations switched on.

    Args:
        epochs: most epochs.
        batch_size: clips a step.
        patience: epochs without a lower validation loss before training stops; the best epoch's weights are
            kept. 0, or a fit without validation clips: all epochs are trained and the last weights kept.
        standardise: scale each dimension by mean and standard deviation over the training clips' real frames.

    Raises:
        ValueError: a parameter is out of its range.
    """

    accepts: ClassVar[FeatureKind] = "frames"
    requires: ClassVar[tuple[str, ...]] = ("tensorflow", "keras")

    epochs: int = 40
    batch_size: int = 32
    patience: int = 10
    standardise: bool = True

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")

    @property
    def wants_validation(self) -> bool:
        """Only early stopping looks at validation clips."""
        return self.patience > 0

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Network of this configuration: a `keras.Model` that ends in `n_classes` probabilities.

        Compile it to choose optimiser and loss (targets are one-hot rows); otherwise it gets Adam with
        `hp.Float("learning_rate")` and categorical cross-entropy. `input_shape` is (n_frames, n_dims), or
        (n_dims,) for vectors.
        """
        raise NotImplementedError

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Build and compile a network and drop it."""
        self._compiled(hp, input_shape, n_classes)

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Train on `train`, stopping early by the loss on `context.validation`.

        Raises:
            PluginError: `build` returned no network for these inputs and classes.
            TrainingError: no clips to train on, or a loss that is NaN or infinite.
        """
        if not len(train):
            raise TrainingError(f"{self.name}: no clips to train on")
        make_deterministic(context.seed)
        self.scaling_ = Scaling.of(train.features) if self.standardise else Scaling.none(train.features)
        self.network_ = self._compiled(hp, train.features.input_shape, context.n_classes)
        self.n_parameters_ = self.network_.count_params()
        self._train(train, context)
        return self

    def predict_proba(self, features: Features) -> Probabilities:
        """Probability of each class, float64 (n_clips, n_classes), rows summing to 1.

        Raises:
            PluginError: features of another width than those of the fit.
            TrainingError: the network answers NaN, or anything else that is no probability.
        """
        if not len(features):
            return np.empty((0, self.network_.output_shape[-1]))
        answer = self.network_.predict(self.scaling_.apply(features), batch_size=self.batch_size, verbose=0)
        probabilities: Probabilities = np.asarray(answer, np.float64)
        sums = probabilities.sum(axis=1, keepdims=True)
        # float32 sums of a softmax are within 1e-6 of 1.
        if not np.isfinite(sums).all() or (probabilities < 0).any() or (abs(sums - 1) > 1e-3).any():
            raise TrainingError(
                f"{self.name}: the network's outputs are no probabilities (NaN, or no softmax?)"
            )
        probabilities /= sums
        return probabilities

    def save(self, folder: Path) -> None:
        """Write the network (Keras's own archive: weights and a JSON description) and the scaling."""
        with warnings.catch_warnings():
            # TensorFlow's arrays do not know NumPy 2's `copy` argument; nothing that a user could mend.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.network_.save(folder / _NETWORK)
        self.scaling_.save(folder / _SCALING)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote, in Keras's safe mode: no code of the file is run.

        Raises:
            PluginError: not a network, or one that would execute code.
        """
        keras = import_keras()
        self.scaling_ = Scaling.load(folder / _SCALING)
        try:
            self.network_ = keras.saving.load_model(folder / _NETWORK, compile=False, safe_mode=True)
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise PluginError(f"{folder / _NETWORK} is no network of {self.name}: {reason}") from error
        self.n_parameters_ = self.network_.count_params()
        return self

    def _compiled(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        keras = import_keras()
        network = self.build(hp, input_shape, n_classes)
        if not isinstance(network, keras.Model):
            raise PluginError(f"{self.name}.build returned {type(network).__name__}; a keras.Model is needed")
        if not network.built:
            network.build((None, *input_shape))
        if network.output_shape != (None, n_classes):
            raise PluginError(
                f"{self.name}.build returned a network of output shape {network.output_shape}; "
                f"(None, {n_classes}) is needed"
            )
        if not network.compiled:
            rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
            # XLA compiles longer than these small networks train.
            network.compile(
                keras.optimizers.Adam(rate),
                "categorical_crossentropy",
                metrics=["accuracy"],
                jit_compile=False,
            )
        return network

    def _train(self, train: Examples, context: FitContext) -> None:
        keras = import_keras()
        history: list[dict[str, float]] = []
        callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=self._epoch_ends(history, context))]
        validation = self._arrays(context.validation, context.n_classes) if context.validation else None
        if validation and self.patience:
            stopping = keras.callbacks.EarlyStopping(
                monitor="val_loss", mode="min", patience=self.patience, restore_best_weights=True
            )
            callbacks.append(stopping)
        self.network_.fit(
            *self._arrays(train, context.n_classes),
            batch_size=self.batch_size,
            epochs=self.epochs,
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        )
        self.history_ = tuple(history)

    def _arrays(self, examples: Examples, n_classes: int) -> tuple[Floats, Floats]:
        """Scaled values and one-hot targets (n_clips, n_classes)."""
        return self.scaling_.apply(examples.features), np.eye(n_classes, dtype=np.float32)[examples.targets]

    def _epoch_ends(
        self, history: list[dict[str, float]], context: FitContext
    ) -> Callable[[int, dict[str, Any]], None]:
        def epoch_ends(epoch: int, logs: dict[str, Any]) -> None:
            metrics = {name: float(value) for name, value in logs.items()}
            history.append(metrics)
            for name, value in metrics.items():
                if name.endswith("loss") and not isfinite(value):
                    what = "NaN" if isnan(value) else "infinite"
                    where = f"epoch {epoch + 1} of {self.epochs}"
                    raise TrainingError(f"{self.name}: {name} is {what} in {where}; lower the learning rate")
            context.on_epoch(epoch + 1, self.epochs, metrics)

        return epoch_ends
