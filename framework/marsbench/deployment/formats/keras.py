"""A Keras network with its scaling in front, as Keras saves it: `emotion_NAME.keras`.

Input: float32 (n_clips, n_frames, n_dims) with as many frames as in training, zeros behind a clip's last
frame; or (n_clips, n_dims) for vectors.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from marsbench.deployment.model_format import FileModel, ModelFormat, Predictor, feature_kind
from marsbench.plugin.features import FEATURES, FeatureKind
from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel, load_network, without_optimiser
from marsbench.plugin.keras.trainer import Trainer
from marsbench.plugin.model import Model


class KerasFormat(ModelFormat):
    """Keras's own archive, read in its safe mode."""

    suffix = ".keras"
    models = (KerasModel,)

    def write(self, path: Path, model: Model, kind: FeatureKind, quantised: str | None) -> None:
        """Save the network with a scaling layer in front; all layers are Keras's own."""
        with silence():
            scaled_network(cast("KerasModel", model)).save(path)

    def read(self, path: Path, plugin: Callable[[], Model]) -> Predictor:
        """Load it without its optimiser; code and layers of enormous outputs are refused."""
        network = load_network(path)
        kind = feature_kind(network.input_shape[1:])
        trainer = Trainer(network)
        return FileModel(kind, lambda features: trainer.predict(features.values))


def scaled_network(model: KerasModel) -> Any:
    """The network behind a layer that scales features as in training; padding stays zero."""
    keras = import_keras()
    network, scaling = without_optimiser(model.network_), model.scaling_
    inputs = keras.Input(network.input_shape[1:], name=FEATURES)
    values = keras.layers.Normalization(
        mean=scaling.mean.astype(np.float32), variance=(scaling.deviation**2).astype(np.float32)
    )(inputs)
    if len(inputs.shape) == 3:
        is_real = keras.ops.any(keras.ops.not_equal(inputs, 0.0), axis=-1, keepdims=True)
        values *= keras.ops.cast(is_real, "float32")
    return keras.Model(inputs, network(values), name=f"emotion_{model.name}")


def input_signature(network: Any) -> list[Any]:
    """What a converter needs to know of the network's input: one clip, float32 (1, *input_shape)."""
    return [import_keras().InputSpec(shape=(1, *network.input_shape[1:]), dtype="float32")]


@contextmanager
def silence() -> Iterator[None]:
    """Hide what converters log of their progress, and deprecation warnings that a user cannot act on."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
