"""Train Keras networks with functions that are traced once per architecture and run a whole epoch per call.

Tracing a network takes longer than several epochs of training, and Python overhead is a third of each step.
So a `Trainer` keeps its traced functions; to train another network of the same configuration, the values of
its variables are copied into the trainer's network. The result is bit-identical to tracing anew.
"""

import io
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from math import inf, isnan
from types import FunctionType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError, TrainingError
from marsbench.plugin.features import Floats
from marsbench.plugin.keras import has_gpu, import_keras, import_tensorflow

_MAX_TRAINERS = 4
"""Traced architectures kept in memory, about 30 MB each."""
_PREDICTION_BATCH = 256
_MIN_STEPS_TO_UNROLL = 2000
"""Unrolling saves a tenth of each step on a CPU, but prolongs tracing by as much as a hundred steps take."""
_MAX_UNROLLED = 64
"""Longest recurrent layer, in time steps, that is unrolled."""
Values = list[NDArray[Any]]
"""Values of variables, in the order of the variables."""


@dataclass
class Checkpoint:
    """State of training after `len(history)` epochs; contains only numbers."""

    values: Values = field(default_factory=list)
    """Values of the network's and its optimiser's variables; empty before the first epoch."""
    best: Values = field(default_factory=list)
    """Values of the network's variables after the epoch with the least validation loss; empty without one."""
    best_epoch: int = 0
    """Number of that epoch, counted from 1."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of each epoch."""

    @property
    def waited(self) -> int:
        """Number of epochs since the best one."""
        return len(self.history) - self.best_epoch

    def is_best(self) -> bool:
        """Whether the last epoch has a lower validation loss than all before."""
        losses = [epoch.get("val_loss", inf) for epoch in self.history]
        return all(losses[-1] < loss or isnan(loss) for loss in losses[:-1])

    def to_bytes(self) -> bytes:
        """Serialise as an npz archive."""
        plain = json.dumps({"best_epoch": self.best_epoch, "history": self.history}).encode()
        arrays = {f"values_{index}": value for index, value in enumerate(self.values)}
        arrays |= {f"best_{index}": value for index, value in enumerate(self.best)}
        file = io.BytesIO()
        np.savez(file, plain=np.frombuffer(plain, np.uint8), **arrays)  # type: ignore[arg-type]  # NumPy's stub takes the names for its own
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` returned; raises TrainingError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                plain = json.loads(arrays["plain"].tobytes())
                values, best = (_numbered(arrays, group) for group in ("values", "best"))
                history = [{str(k): float(v) for k, v in epoch.items()} for epoch in plain["history"]]
                return cls(values, best, int(plain["best_epoch"]), history)
        except Exception as error:  # damaged archives raise errors of a dozen kinds
            raise TrainingError(f"a checkpoint cannot be read: {error}") from error


def _numbered(arrays: Any, group: str) -> Values:
    count = sum(name.startswith(f"{group}_") for name in arrays)
    return [arrays[f"{group}_{index}"] for index in range(count)]


class Trainer:
    """Traced functions of a network, which train and predict for every network of the same configuration."""

    def __init__(self, network: Any) -> None:
        self._tf = tf = import_tensorflow()  # an attribute, as traced functions should not import
        self._network = network
        # Signatures with any number of rows; otherwise every number of rows would be traced.
        values, targets = tf.TensorSpec(network.input_shape), tf.TensorSpec(network.output_shape)
        self._predict = tf.function(self._traced_predict, input_signature=[values])
        if network.compiled:
            _require_default_step(network)
            weights, order = tf.TensorSpec([None]), tf.TensorSpec([None], tf.int32)
            signature = [values, targets, weights, order, tf.TensorSpec([], tf.int32)]
            self._epoch = tf.function(self._traced_epoch, input_signature=signature)
            self._assess = tf.function(self._traced_assess, input_signature=[values, targets])
            network.optimizer.build(network.trainable_variables)

    def load_values(self, network: Any) -> None:
        """Copy the values of another network's and its optimiser's variables into this trainer's network."""
        if network is self._network:
            return
        if network.compiled and not network.optimizer.built:
            network.optimizer.build(network.trainable_variables)
        for own, given in zip(self._variables(self._network), self._variables(network), strict=True):
            own.assign(given)

    @property
    def values(self) -> Values:
        """Values of the network's variables, then of its optimiser's: everything that training changes.

        Raises, when set:
            TrainingError: their shapes are those of a different network.
        """
        return [np.array(variable.numpy()) for variable in self._variables(self._network)]

    @values.setter
    def values(self, values: Values) -> None:
        own = self._variables(self._network)
        if [variable.shape for variable in own] != [value.shape for value in values]:
            raise TrainingError("the checkpoint belongs to a different network")
        for variable, value in zip(own, values, strict=True):
            variable.assign(value)

    @property
    def network_values(self) -> Values:
        """Values of the network's variables, without the optimiser's."""
        return [np.array(variable.numpy()) for variable in self._network.variables]

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the following steps."""
        self._network.optimizer.learning_rate = rate

    def epoch(
        self, values: Floats, targets: Floats, weights: Floats, order: NDArray[np.int64], batch_size: int
    ) -> dict[str, float]:
        """Train for one epoch, in steps of `batch_size` rows in the given order.

        Args:
            values: standardised features, (n_clips, n_frames, n_dims) or (n_clips, n_dims).
            targets: (n_clips, n_classes).
            weights: weight of each clip in the loss, (n_clips,).
            order: permutation of the clips, (n_clips,).
            batch_size: clips per step.

        Returns:
            `loss` and `accuracy`, means over the epoch's steps.
        """
        constant = self._tf.constant
        arrays = constant(values), constant(targets), constant(weights), constant(order.astype(np.int32))
        loss, correct = self._epoch(*arrays, constant(batch_size))
        return {"loss": float(loss) / len(order), "accuracy": float(correct) / len(order)}

    def assess(self, values: Floats, targets: Floats) -> dict[str, float]:
        """Mean loss and accuracy on validation clips, as `val_loss` and `val_accuracy`."""
        constant = self._tf.constant
        sums = np.zeros(2)
        for part in _batches(len(values)):
            loss, correct = self._assess(constant(values[part]), constant(targets[part]))
            sums += float(loss), float(correct)
        return dict(zip(("val_loss", "val_accuracy"), (sums / len(values)).tolist(), strict=True))

    def predict(self, values: Floats) -> Floats:
        """Outputs of the network, (n_clips, n_classes)."""
        parts = (self._tf.constant(values[part]) for part in _batches(len(values)))
        return np.concatenate([self._predict(part).numpy() for part in parts])

    @staticmethod
    def _variables(network: Any) -> list[Any]:
        return [*network.variables, *(network.optimizer.variables if network.compiled else [])]

    def _traced_predict(self, values: Any) -> Any:
        return self._network(values, training=False)

    def _traced_assess(self, values: Any, targets: Any) -> Any:
        outputs = self._network(values, training=False)
        loss = self._network.compute_loss(x=values, y=targets, y_pred=outputs, training=False)
        tf = self._tf
        return loss * tf.cast(tf.shape(values)[0], tf.float32), _n_correct(tf, targets, outputs)

    def _traced_epoch(self, values: Any, targets: Any, weights: Any, order: Any, batch_size: Any) -> Any:
        tf = self._tf
        network = self._network

        def step(start: Any, loss_sum: Any, correct: Any) -> Any:
            rows = order[start : start + batch_size]
            x, y = tf.gather(values, rows), tf.gather(targets, rows)
            with tf.GradientTape() as tape:
                outputs = network(x, training=True)
                weight = tf.gather(weights, rows)
                loss = network.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight, training=True)
            gradients = tape.gradient(loss, network.trainable_variables)
            network.optimizer.apply(gradients, network.trainable_variables)
            n_rows = tf.cast(tf.shape(rows)[0], tf.float32)
            return start + batch_size, loss_sum + loss * n_rows, correct + _n_correct(tf, y, outputs)

        begin = (tf.constant(0), tf.constant(0.0), tf.constant(0.0))
        # Parallel iterations would race for the variables.
        done = tf.while_loop(lambda start, *_: start < tf.shape(order)[0], step, begin, parallel_iterations=1)
        return done[1:]


_trainers: "OrderedDict[tuple[str, bool], Trainer]" = OrderedDict()
"""By configuration and whether it is unrolled; the latest used one is the last."""


def trainer_for(network: Any, n_steps: int = 0) -> Trainer:
    """The trainer of networks with this configuration, with the values of this network.

    `n_steps` is the total number of steps that the network will be trained for: recurrent layers are unrolled
    if that saves more time than the longer tracing costs. Unrolling changes the last digits of the results,
    so `n_steps` must not depend on where a fit pauses.
    """
    key = _configuration(network)
    unrolled = n_steps >= _MIN_STEPS_TO_UNROLL and not has_gpu()  # on a GPU, cuDNN has its own loop
    if key is None:
        return Trainer(network)
    # A copy, as later networks' values would overwrite those of this one.
    trainer = _trainers.pop((key, unrolled), None) or Trainer(_clone(network, unrolled=unrolled))
    _trainers[key, unrolled] = trainer
    while len(_trainers) > _MAX_TRAINERS:
        _trainers.popitem(last=False)
    trainer.load_values(network)
    return trainer


def _clone(network: Any, *, unrolled: bool) -> Any:
    keras = import_keras()
    clone = keras.models.clone_model(network)
    if network.compiled:
        clone.compile_from_config(network.get_compile_config())
    for layer in clone.layers if unrolled else ():
        is_pair = isinstance(layer, keras.layers.Bidirectional)
        for single in [layer.forward_layer, layer.backward_layer] if is_pair else [layer]:
            if isinstance(single, keras.layers.RNN) and _n_frames(layer) <= _MAX_UNROLLED:
                single.unroll = True
    return clone


def _n_frames(layer: Any) -> float:
    """Number of time steps of a recurrent layer, from its first input; further inputs are states."""
    first = layer.input[0] if isinstance(layer.input, list) else layer.input
    return first.shape[1] or inf


def _configuration(network: Any) -> str | None:
    """Text that is equal for networks with equal traces; None if that cannot be determined.

    Keras's own classes are fully described by their configuration. Custom layers and functions may depend on
    more, and may have the name of one of Keras's.
    """
    if not _is_standard(network):
        return None
    try:
        parts = import_keras().saving.serialize_keras_object(network)
        compiled = network.get_compile_config() if network.compiled else None
        optimiser = (compiled or {}).get("optimizer")
        if isinstance(optimiser, dict) and isinstance(optimiser["config"].get("learning_rate"), float):
            del optimiser["config"]["learning_rate"]  # it is a variable and not part of the trace
        return json.dumps([network.input_shape, parts["config"], compiled], sort_keys=True)
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return None


def _is_standard(network: Any) -> bool:
    """Whether the network, its layers, loss and optimiser, and all functions in them are Keras's own."""
    keras = import_keras()
    functional = type(keras.Model(*[keras.Input((1,))] * 2))
    if type(network) not in (keras.Sequential, functional):
        return False
    parts = [*network._flatten_layers(include_self=False)]  # noqa: SLF001 - nested layers have no public list
    if network.compiled:
        parts += [network.optimizer, network.loss]
    values = [value for part in parts for value in (part, *getattr(part, "__dict__", {}).values())]
    return all(map(_is_standard_part, values))


def _is_standard_part(value: Any) -> bool:
    if isinstance(value, FunctionType):
        return value.__module__.partition(".")[0] == "keras" and value.__name__ != "<lambda>"
    kind = type(value)
    is_part = isinstance(value, import_keras().layers.Layer) or hasattr(value, "get_config")
    return not is_part or (kind.__module__.partition(".")[0] == "keras" and kind.__name__ != "Lambda")


def _require_default_step(network: Any) -> None:
    """Refuse a network that overrides `train_step`: the override would be ignored silently."""
    if type(network).train_step is not import_keras().Model.train_step:
        name = type(network).__name__
        raise PluginError(
            f"{name} overrides train_step, which marsbench does not call; override the plugin's fit instead"
        )


def _batches(n_clips: int) -> list[slice]:
    return [slice(start, start + _PREDICTION_BATCH) for start in range(0, n_clips, _PREDICTION_BATCH)]


def _n_correct(tf: Any, targets: Any, outputs: Any) -> Any:
    return tf.reduce_sum(tf.cast(tf.argmax(targets, 1) == tf.argmax(outputs, 1), tf.float32))
