"""A residual convolutional network that treats frames as an image."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.search_space import HyperParameters
from marsbench_plugins.networks import MIXUP, REGULARISED, attention_mean, batch_normalised


@dataclass
class ResCnn2d(KerasModel):
    """Small residual 2D network over time and feature dimensions, with attention pooling over time."""

    training = MIXUP
    starting_points = ({"filters": 24}, *REGULARISED)

    patience: int = 0

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Stages of a residual block and pooling, each with twice the filters of the previous."""
        keras = import_keras()
        layers = keras.layers
        filters = hp.Int("filters", 8, 32, step=8, default=16)
        dropout = hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.3)
        inputs = keras.Input(input_shape)
        values = layers.Reshape((*input_shape, 1))(inputs)
        # At full size, the first stage would take as long as all others.
        values = _convolved(values, filters, strides=2)
        for stage in range(hp.Int("stages", 2, 4, default=3)):
            values = _residual(values, filters * 2**stage)
            values = layers.MaxPooling2D(2, padding="same")(values)  # "same" also works for few dimensions
            values = layers.SpatialDropout2D(dropout / 3)(values)
        n_steps, n_bands, width = values.shape[1:]
        # Only time is averaged, as feature dimensions have different meanings.
        values = attention_mean(layers.Reshape((n_steps, n_bands * width))(values))
        values = layers.Dropout(dropout)(values)
        return keras.Model(inputs, layers.Dense(n_classes, activation="softmax")(values))


def _residual(values: Any, filters: int) -> Any:
    layers = import_keras().layers
    branch = _convolved(_convolved(values, filters), filters, is_last=True)
    if filters != values.shape[-1]:
        values = layers.Conv2D(filters, 1)(values)
    return layers.ReLU()(layers.Add()([values, branch]))


def _convolved(values: Any, filters: int, strides: int = 1, *, is_last: bool = False) -> Any:
    layers = import_keras().layers
    values = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(values)
    values = batch_normalised(values)
    return values if is_last else layers.ReLU()(values)
