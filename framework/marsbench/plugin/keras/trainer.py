"""How Keras networks are trained here: traced once for each architecture, a whole epoch in one call.

Tracing a network takes longer than several epochs of it, and Python's part in each step a third of the step.
So a trainer keeps its traced functions, and a network of equal configuration is trained by lending the values
of its variables to it: bit for bit what a newly traced network would come to.
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
from marsbench.plugin.keras.setup import has_gpu, import_keras, import_tensorflow

_KEPT = 4
"""Traced architectures in memory; each takes some 30 MB, and tuners go on to others."""
_PREDICTED_AT_ONCE = 256
_STEPS_THAT_REPAY_UNROLLING = 2000
"""Unrolling saves a tenth of a step on a CPU, and costs as much time as a hundred steps for the tracing."""
_MOST_UNROLLED = 64
"""Steps of a recurrent layer."""
Values = list[NDArray[Any]]
"""Of variables, in their order."""


@dataclass
class Checkpoint:
    """Training after `len(history)` epochs."""

    values: Values = field(default_factory=list)
    """Of the network's variables and its optimiser's; nothing before the first epoch."""
    best: Values = field(default_factory=list)
    """Of the network's variables after the epoch of least validation loss; nothing without validation."""
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return len(self.history) - self.best_epoch

    def is_best(self) -> bool:
        """Whether the last epoch has the least validation loss so far; the first of equals is the best."""
        losses = [epoch.get("val_loss", inf) for epoch in self.history]
        return all(losses[-1] < loss or isnan(loss) for loss in losses[:-1])

    def to_bytes(self) -> bytes:
        """An npz archive."""
        plain = json.dumps({"best_epoch": self.best_epoch, "history": self.history}).encode()
        arrays = {f"values_{index}": value for index, value in enumerate(self.values)}
        arrays |= {f"best_{index}": value for index, value in enumerate(self.best)}
        file = io.BytesIO()
        np.savez(file, plain=np.frombuffer(plain, np.uint8), **arrays)  # type: ignore[arg-type]  # NumPy's stub takes the names for its own
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave; raises TrainingError for anything else."""
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
    """A network's traced functions, which train and predict for every network of its configuration."""

    def __init__(self, network: Any) -> None:
        self._tf = tf = import_tensorflow()  # kept: what is traced should import nothing
        self._network = network
        # Of any number of rows: each other number would be traced anew.
        values, targets = tf.TensorSpec(network.input_shape), tf.TensorSpec(network.output_shape)
        self._answer = tf.function(self._traced_answer, input_signature=[values])
        if network.compiled:
            _require_plain(network)
            weights, order = tf.TensorSpec([None]), tf.TensorSpec([None], tf.int32)
            signature = [values, targets, weights, order, tf.TensorSpec([], tf.int32)]
            self._epoch = tf.function(self._traced_epoch, input_signature=signature)
            self._assess = tf.function(self._traced_assess, input_signature=[values, targets])
            network.optimizer.build(network.trainable_variables)

    def hold(self, network: Any) -> None:
        """Take over the values of a network's variables and of its optimiser's."""
        if network is self._network:
            return
        if network.compiled and not network.optimizer.built:
            network.optimizer.build(network.trainable_variables)
        for own, given in zip(self._variables(self._network), self._variables(network), strict=True):
            own.assign(given)

    @property
    def values(self) -> Values:
        """Everything that training changes: of the network first, then of its optimiser.

        Raises, when set:
            TrainingError: they are of another network.
        """
        return [np.array(variable.numpy()) for variable in self._variables(self._network)]

    @values.setter
    def values(self, values: Values) -> None:
        own = self._variables(self._network)
        if [variable.shape for variable in own] != [value.shape for value in values]:
            raise TrainingError("the checkpoint is of another network")
        for variable, value in zip(own, values, strict=True):
            variable.assign(value)

    @property
    def network_values(self) -> Values:
        """Those of the network alone: what it predicts by."""
        return [np.array(variable.numpy()) for variable in self._network.variables]

    def set_learning_rate(self, rate: float) -> None:
        """Of the steps to come."""
        self._network.optimizer.learning_rate = rate

    def epoch(
        self, values: Floats, targets: Floats, weights: Floats, order: NDArray[np.int64], batch_size: int
    ) -> dict[str, float]:
        """One step for each `batch_size` rows of `order`; mean loss and accuracy on the way."""
        constant = import_tensorflow().constant
        arrays = constant(values), constant(targets), constant(weights), constant(order.astype(np.int32))
        loss, right = self._epoch(*arrays, constant(batch_size))
        return {"loss": float(loss) / len(order), "accuracy": float(right) / len(order)}

    def assess(self, values: Floats, targets: Floats) -> dict[str, float]:
        """Mean loss and accuracy without training."""
        constant = import_tensorflow().constant
        sums = np.zeros(2)
        for start in range(0, len(values), _PREDICTED_AT_ONCE):
            part = slice(start, start + _PREDICTED_AT_ONCE)
            loss, right = self._assess(constant(values[part]), constant(targets[part]))
            sums += float(loss), float(right)
        return dict(zip(("val_loss", "val_accuracy"), (sums / len(values)).tolist(), strict=True))

    def predict(self, values: Floats) -> Floats:
        """Outputs of the network that is held, (n_clips, n_classes)."""
        constant = import_tensorflow().constant
        starts = range(0, len(values), _PREDICTED_AT_ONCE)
        parts = [
            self._answer(constant(values[start : start + _PREDICTED_AT_ONCE])).numpy() for start in starts
        ]
        return np.concatenate(parts)

    @staticmethod
    def _variables(network: Any) -> list[Any]:
        return [*network.variables, *(network.optimizer.variables if network.compiled else [])]

    def _traced_answer(self, values: Any) -> Any:
        return self._network(values, training=False)

    def _traced_assess(self, values: Any, targets: Any) -> Any:
        answer = self._network(values, training=False)
        loss = self._network.compute_loss(x=values, y=targets, y_pred=answer, training=False)
        tf = self._tf
        return loss * tf.cast(tf.shape(values)[0], tf.float32), _n_right(tf, targets, answer)

    def _traced_epoch(self, values: Any, targets: Any, weights: Any, order: Any, batch_size: Any) -> Any:
        tf = self._tf
        network = self._network

        def step(start: Any, loss_sum: Any, right: Any) -> Any:
            rows = order[start : start + batch_size]
            x, y = tf.gather(values, rows), tf.gather(targets, rows)
            with tf.GradientTape() as tape:
                answer = network(x, training=True)
                weight = tf.gather(weights, rows)
                loss = network.compute_loss(x=x, y=y, y_pred=answer, sample_weight=weight, training=True)
            gradients = tape.gradient(loss, network.trainable_variables)
            network.optimizer.apply(gradients, network.trainable_variables)
            n_rows = tf.cast(tf.shape(rows)[0], tf.float32)
            return start + batch_size, loss_sum + loss * n_rows, right + _n_right(tf, y, answer)

        begin = (tf.constant(0), tf.constant(0.0), tf.constant(0.0))
        # One step after another: overlapping steps would race for the variables.
        done = tf.while_loop(lambda start, *_: start < tf.shape(order)[0], step, begin, parallel_iterations=1)
        return done[1:]


_trainers: "OrderedDict[str, Trainer]" = OrderedDict()


def trainer_for(network: Any, n_steps: int = 0) -> Trainer:
    """The trainer of networks configured like this one; it holds this one's values.

    `n_steps` is how many steps the network is to be trained for, all in all: recurrent layers are unrolled if
    that repays the longer tracing. It decides the last digits, so it must not depend on where a fit stops.
    """
    key = _configuration(network)
    unrolled = n_steps >= _STEPS_THAT_REPAY_UNROLLING and not has_gpu()  # there, cuDNN has a loop of its own
    key = key and f"{key} {unrolled}"
    trainer = _trainers.pop(key, None) if key else None
    if trainer is None:
        # Lent values would overwrite those of the network that happened to come first.
        trainer = Trainer(_copy(network, unrolled=unrolled) if key else network)
    if key:
        _trainers[key] = trainer
        while len(_trainers) > _KEPT:
            _trainers.popitem(last=False)
    trainer.hold(network)
    return trainer


def _copy(network: Any, *, unrolled: bool) -> Any:
    keras = import_keras()
    copy = keras.models.clone_model(network)
    if network.compiled:
        copy.compile_from_config(network.get_compile_config())
    for layer in copy.layers if unrolled else ():
        is_pair = isinstance(layer, keras.layers.Bidirectional)
        for single in [layer.forward_layer, layer.backward_layer] if is_pair else [layer]:
            if isinstance(single, keras.layers.RNN) and _n_frames(layer) <= _MOST_UNROLLED:
                single.unroll = True
    return copy


def _n_frames(layer: Any) -> float:
    """Steps of a recurrent layer; other inputs than the first are states."""
    first = layer.input[0] if isinstance(layer.input, list) else layer.input
    return first.shape[1] or inf


def _configuration(network: Any) -> str | None:
    """Text that is equal for networks whose traces are; None where that cannot be known.

    What is Keras's own is described by its configuration. A layer or a function of the plugin's own may
    depend on what no configuration tells, and may be called as one of Keras's.
    """
    if not _is_kerass(network):
        return None
    try:
        parts = import_keras().saving.serialize_keras_object(network)
        compiled = network.get_compile_config() if network.compiled else None
        optimiser = (compiled or {}).get("optimizer")
        if isinstance(optimiser, dict) and isinstance(optimiser["config"].get("learning_rate"), float):
            del optimiser["config"]["learning_rate"]  # a variable like any other
        return json.dumps([network.input_shape, parts["config"], compiled], sort_keys=True)
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return None


def _is_kerass(network: Any) -> bool:
    """Whether the network, its layers, loss and optimiser, and every function in them, are Keras's own."""
    keras = import_keras()
    functional = type(keras.Model(*[keras.Input((1,))] * 2))
    if type(network) not in (keras.Sequential, functional):
        return False
    parts = [*network._flatten_layers(include_self=False)]  # noqa: SLF001 - also layers in layers
    if network.compiled:
        parts += [network.optimizer, network.loss]
    values = [value for part in parts for value in (part, *getattr(part, "__dict__", {}).values())]
    return all(map(_is_plain, values))


def _is_plain(value: Any) -> bool:
    if isinstance(value, FunctionType):
        return value.__module__.partition(".")[0] == "keras" and value.__name__ != "<lambda>"
    kind = type(value)
    is_part = isinstance(value, import_keras().layers.Layer) or hasattr(value, "get_config")
    return not is_part or (kind.__module__.partition(".")[0] == "keras" and kind.__name__ != "Lambda")


def _require_plain(network: Any) -> None:
    """A network with a step of its own would be trained by another one, silently."""
    if type(network).train_step is not import_keras().Model.train_step:
        name = type(network).__name__
        raise PluginError(f"{name} overrides train_step, which is not called here; override the plugin's fit")


def _n_right(tf: Any, targets: Any, answer: Any) -> Any:
    return tf.reduce_sum(tf.cast(tf.argmax(targets, 1) == tf.argmax(answer, 1), tf.float32))
