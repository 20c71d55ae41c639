"""Base of Keras models: a subclass implements `build`."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, cos, isfinite, isnan, pi, prod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError, TrainingError, first_line
from marsbench.hashing import derived_seed
from marsbench.plugin.features import FeatureKind, Features, Floats
from marsbench.plugin.keras import import_keras, make_deterministic
from marsbench.plugin.keras.preprocessing import Augmentation, Scaling
from marsbench.plugin.keras.trainer import Checkpoint, Trainer, trainer_for
from marsbench.plugin.model import Examples, FitContext, Model, Probabilities, concatenate
from marsbench.plugin.search_space import HyperParameters, OtherDefaults, Scalar

_NETWORK = "model.keras"
_SCALING = "scaling.npz"
_MOST_VALUES = 1 << 28
"""Values that a layer of a stored network may give for a clip: 1 GiB."""
_STEPS, _BATCHES, _EPOCH = 24, (8, 64), 512
"""If the batch size is chosen by the number of clips: steps of an epoch, the least and largest batch, and the
least number of clips in an epoch, which goes through fewer clips several times."""
_RISE = 0.25
"""Share of the epochs in which the rate of one cycle rises to `learning_rate`, linearly from 0."""
_BUILT_IN = "marsbench_plugins."
"""Beginning of the modules of networks that draw no random numbers by TensorFlow's own operations."""
_RUNGS = (1 / 8, 3 / 8, 1.0)
"""Shares of all epochs after which a tuner may stop a trial."""


@dataclass(frozen=True)
class _Schedule:
    """How a network is trained, besides its optimiser and loss."""

    batch_size: int
    """Clips per step; 0 to choose it by the number of clips."""
    early_stopping: bool
    """Whether validation clips decide when to stop; if not, they are added to the training clips."""
    class_weights: bool
    augmentation: Augmentation | None
    learning_rate: float | None
    """Initial learning rate; None if `build` compiled the network with its own optimiser."""
    course: str
    """How the rate changes: constant; cosine, along half a cosine to 0 (Loshchilov & Hutter 2017,
    arXiv:1608.03983); or one_cycle, which rises before (Smith & Topin 2018, arXiv:1708.07120)."""

    def clips_per_step(self, n_clips: int) -> int:
        """The batch size for so many training clips."""
        return self.batch_size or min(max(self.passes(n_clips) * n_clips // _STEPS, _BATCHES[0]), _BATCHES[1])

    def passes(self, n_clips: int) -> int:
        """How often an epoch goes through so many training clips."""
        return 1 if self.batch_size else ceil(_EPOCH / n_clips)

    def steps(self, n_clips: int) -> int:
        """Steps of an epoch on so many training clips."""
        return ceil(self.passes(n_clips) * n_clips / self.clips_per_step(n_clips))

    def rate(self, epoch: int, epochs: int) -> float | None:
        """Learning rate of an epoch, counted from 0; None to leave it unchanged."""
        if self.learning_rate is None or self.course == "constant":
            return None
        if self.course == "cosine":
            return self.learning_rate * 0.5 * (1 + cos(pi * epoch / epochs))
        done = (epoch + 0.5) / epochs  # the middle of the epoch
        if done < _RISE:
            return self.learning_rate * done / _RISE
        return self.learning_rate * 0.5 * (1 + cos(pi * (done - _RISE) / (1 - _RISE)))


@dataclass
class KerasModel(Model):
    """A Keras network on features that are standardised by training statistics.

    Two fits with equal arguments are bit-identical on one machine. For that, a fit sets the global seeds of
    the process and leaves TensorFlow's deterministic operations enabled.

    Args:
        epochs: maximum number of epochs.
        batch_size: clips per step; 0 for a 24th of an epoch's clips, from 8 to 64. An epoch then goes through
            fewer than 512 clips several times, so that few epochs are enough on small corpora, too.
        patience: epochs without a lower validation loss before training stops; the weights of the best epoch
            are kept. With 0, or without validation clips, all epochs are trained and the last weights kept.
        standardise: scale each dimension by mean and standard deviation over the training clips' real frames.

    Raises:
        ValueError: a parameter is out of range.
    """

    accepts: ClassVar[FeatureKind] = "frames"
    requires: ClassVar[tuple[str, ...]] = ("tensorflow", "keras")
    training: ClassVar[Mapping[str, Scalar]] = {}
    """Defaults of this network for hyperparameters of all Keras models, such as `{"schedule": "cosine"}`."""

    epochs: int = 40
    batch_size: int = 32
    patience: int = 10
    standardise: bool = True

    _n_steps = 0
    """Total number of training steps; 0 for a loaded network."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 0), ("patience", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")

    @property
    def wants_validation(self) -> bool:
        """Whether early stopping may be used, which needs validation clips."""
        return self.patience > 0

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Network of the configuration in `hp`, with `n_classes` probabilities as output.

        A `keras.Sequential`, or a functional `keras.Model(inputs, outputs)`. `input_shape` is
        (n_frames, n_dims), or (n_dims,) for vectors.

        Compile it to choose optimiser and loss (targets are one-hot rows); otherwise it gets Adam with
        `hp.Float("learning_rate")` and categorical cross-entropy.
        """
        raise NotImplementedError

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a tuner may stop a trial: one eighth, three eighths and all of them."""
        return tuple(sorted({max(1, round(share * self.epochs)) for share in _RUNGS}))

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Declare the hyperparameters of `build` and of training, by building a network."""
        self._prepare(hp, input_shape, n_classes)

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Train on `train`, with early stopping by the loss on `context.validation` if that is configured.

        Raises:
            PluginError: `build` did not return a network for these inputs and classes.
            TrainingError: no clips to train on, or a loss that is NaN or infinite.
        """
        if not len(train):
            raise TrainingError(f"{self.name}: no clips to train on")
        make_deterministic(context.seed, is_stateless=type(self).__module__.startswith(_BUILT_IN))
        self.network_, schedule = self._prepare(hp, train.features.input_shape, context.n_classes)
        validation = context.validation
        if validation is not None and not schedule.early_stopping and self.patience:
            train = train if context.validation_is_dev else concatenate(train, validation)
            validation = None
        self.scaling_ = (Scaling.fit if self.standardise else Scaling.identity)(train.features)
        self.n_parameters_ = self.network_.count_params()
        checkpoint = Checkpoint.from_bytes(context.checkpoint) if context.checkpoint else Checkpoint()
        self._n_steps = self.epochs * schedule.steps(len(train))
        trainer = trainer_for(self.network_, self._n_steps)
        if checkpoint.values:
            trainer.values = checkpoint.values
        self._train(trainer, train, schedule, replace(context, validation=validation), checkpoint)
        self.history_ = tuple(checkpoint.history)
        if context.until is not None:
            checkpoint.values = trainer.values
            self.checkpoint_ = checkpoint.to_bytes()
        for variable, value in zip(
            self.network_.variables, checkpoint.best or trainer.network_values, strict=True
        ):
            variable.assign(value)
        return self

    def predict_proba(self, features: Features) -> Probabilities:
        """Class probabilities, float64 (n_clips, n_classes); each row sums to 1.

        Raises:
            PluginError: features with a different number of dimensions than those of the fit.
            TrainingError: outputs that are NaN, infinite, negative or do not sum to 1.
        """
        if not len(features):
            return np.empty((0, self.network_.output_shape[-1]))
        trainer = trainer_for(self.network_, self._n_steps) if self._n_steps else self._reader
        outputs = trainer.predict(self.scaling_.apply(features))
        probabilities: Probabilities = outputs.astype(np.float64)
        sums = probabilities.sum(axis=1, keepdims=True)
        # The sums of a float32 softmax are within 1e-6 of 1.
        if not np.isfinite(sums).all() or (probabilities < 0).any() or (abs(sums - 1) > 1e-3).any():
            raise TrainingError(
                f"{self.name}: the network's outputs are not probabilities (NaN, or softmax missing?)"
            )
        probabilities /= sums
        return probabilities

    def save(self, folder: Path) -> None:
        """Write the network, as a `.keras` archive (weights and a JSON description), and the scaling."""
        with warnings.catch_warnings():
            # TensorFlow's arrays lack NumPy 2's `copy` argument; users cannot do anything about it.
            warnings.simplefilter("ignore", DeprecationWarning)
            without_optimiser(self.network_).save(folder / _NETWORK)
        self.scaling_.save(folder / _SCALING)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote, in Keras's safe mode, which executes no code from the file.

        Raises:
            PluginError: not a network, or one that would execute code.
        """
        self.scaling_ = Scaling.load(folder / _SCALING)
        try:
            self.network_ = load_network(folder / _NETWORK)
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = first_line(error)
            raise PluginError(f"{folder / _NETWORK} is not a network of {self.name}: {reason}") from error
        self.n_parameters_ = self.network_.count_params()
        self._n_steps = 0
        self.__dict__.pop("_reader", None)
        return self

    @cached_property
    def _reader(self) -> Trainer:
        """Trainer of a loaded network, which is asked clip by clip: making one takes longer than asking."""
        return Trainer(self.network_)

    def _prepare(
        self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int
    ) -> tuple[Any, _Schedule]:
        """Compiled network of the configuration in `hp`, and how to train it."""
        keras = import_keras()
        network = self.build(hp, input_shape, n_classes)
        if not isinstance(network, keras.Model):
            raise PluginError(f"{self.name}.build returned {type(network).__name__}; a keras.Model is needed")
        if not isinstance(network, keras.Sequential) and not hasattr(network, "inputs"):
            raise PluginError(
                f"{self.name}.build returned {type(network).__name__}, a subclass with its own `call`; a "
                "keras.Sequential or keras.Model(inputs, outputs) is needed"
            )
        if not network.built:
            network.build((None, *input_shape))
        if network.output_shape != (None, n_classes):
            raise PluginError(
                f"{self.name}.build returned a network of output shape {network.output_shape}; "
                f"(None, {n_classes}) is needed"
            )
        hp = OtherDefaults(hp, self.training)
        rate, course = (None, "constant") if network.compiled else _compile(network, hp)
        batch_sizes = sorted({16, 32, 64, 128, self.batch_size})
        schedule = _Schedule(
            batch_size=hp.Choice("batch_size", batch_sizes, default=self.batch_size),
            early_stopping=self.patience > 0 and hp.Boolean("early_stopping", default=True),
            class_weights=hp.Boolean("class_weights", default=False),
            augmentation=Augmentation.declare(hp, has_frames=len(input_shape) > 1),
            learning_rate=rate,
            course=course,
        )
        if hp.undeclared:
            raise PluginError(
                f"{self.name}.training has {min(hp.undeclared)!r}, which is not a hyperparameter"
            )
        return network, schedule

    def _train(
        self,
        trainer: Trainer,
        train: Examples,
        schedule: _Schedule,
        context: FitContext,
        checkpoint: Checkpoint,
    ) -> None:
        """Train from the checkpoint on and update it, except for the values of the last epoch."""
        values, targets = self._arrays(train, context.n_classes)
        weights = _class_weights(train.targets) if schedule.class_weights else np.ones(len(train), np.float32)
        real = train.features.is_real if train.features.kind == "frames" else np.ones(len(train), np.bool_)
        validation = self._arrays(context.validation, context.n_classes) if context.validation else None
        batch_size, passes = schedule.clips_per_step(len(train)), schedule.passes(len(train))
        last = min(context.until or self.epochs, self.epochs)
        for epoch in range(len(checkpoint.history), last):
            if validation and self.patience and checkpoint.history and checkpoint.waited >= self.patience:
                break
            # Random numbers depend only on seed and epoch, so training can resume after any epoch.
            random = np.random.default_rng(derived_seed(context.seed, "epoch", epoch))
            if (rate := schedule.rate(epoch, self.epochs)) is not None:
                trainer.set_learning_rate(rate)
            examples = values, targets
            if schedule.augmentation:
                examples = schedule.augmentation.apply(values, real, targets, random)
            order = np.concatenate([random.permutation(len(train)) for _ in range(passes)])
            metrics = trainer.epoch(*examples, weights, order, batch_size)
            if validation:
                metrics |= trainer.assess(*validation)
            checkpoint.history.append(metrics)
            self._require_finite(metrics, epoch)
            if validation and self.patience and checkpoint.is_best():
                checkpoint.best, checkpoint.best_epoch = trainer.network_values, epoch + 1
            context.on_epoch(epoch + 1, self.epochs, metrics)

    def _arrays(self, examples: Examples, n_classes: int) -> tuple[Floats, Floats]:
        """Standardised values and one-hot targets (n_clips, n_classes)."""
        return self.scaling_.apply(examples.features), np.eye(n_classes, dtype=np.float32)[examples.targets]

    def _require_finite(self, metrics: dict[str, float], epoch: int) -> None:
        for name, value in metrics.items():
            if name.endswith("loss") and not isfinite(value):
                what = "NaN" if isnan(value) else "infinite"
                where = f"epoch {epoch + 1} of {self.epochs}"
                raise TrainingError(f"{self.name}: {name} is {what} in {where}; lower the learning rate")


def load_network(path: Path) -> Any:
    """A network that Keras saved, read in its safe mode, which executes no code from the file.

    Raises:
        ValueError: code in it, or a layer that gives more values for a clip than any network needs.
    """
    network = import_keras().saving.load_model(path, compile=False, safe_mode=True)
    for shape in _output_shapes(network):
        if prod(size or 1 for size in shape) > _MOST_VALUES:
            raise ValueError(f"a layer gives values of shape {shape}; a clip may have {_MOST_VALUES:,}")
    return network


def _output_shapes(network: Any) -> Iterator[tuple[int | None, ...]]:
    """Shapes of what all layers give, also those of networks in it; None for the clips."""
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from _output_shapes(layer)
        for node in layer._inbound_nodes:  # noqa: SLF001 - `layer.output` fails for a layer that is used twice
            yield from (tensor.shape for tensor in import_keras().tree.flatten(node.output_tensors))


def without_optimiser(network: Any) -> Any:
    """The network without its compiled optimiser, which would make its file three times as large."""
    return import_keras().Model(network.inputs, network.outputs, name=network.name)


def _compile(network: Any, hp: HyperParameters) -> tuple[float, str]:
    """Compile with Adam and cross-entropy; returns the learning rate and how it changes."""
    keras = import_keras()
    rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
    schedule = hp.Choice("schedule", ["constant", "cosine", "one_cycle"])
    decay = hp.Choice("weight_decay", [0.0, 1e-3, 1e-2, 1e-1])
    smoothing = hp.Float("label_smoothing", 0.0, 0.2, step=0.05)
    # Compiling with XLA takes longer than training these small networks.
    network.compile(
        keras.optimizers.AdamW(rate, decay) if decay else keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return rate, schedule


def _class_weights(targets: NDArray[np.int64]) -> Floats:
    """Weights inversely proportional to the class's number of clips, 1 on average, float32 (n_clips,)."""
    counts = np.bincount(targets)
    weights = len(targets) / (np.count_nonzero(counts) * counts[targets])
    return weights.astype(np.float32)
