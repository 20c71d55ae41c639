"""A Conformer over frames."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.search_space import HyperParameters
from marsbench_plugins.networks import MIXUP, REGULARISED, attention_mean, batch_normalised


@dataclass
class Conformer(KerasModel):
    """Light Conformer encoder (Gulati et al. 2020, arXiv:2005.08100) with attention pooling.

    It has no position encoding; the convolutions convey positions.
    """

    training = MIXUP
    starting_points = ({"width": 96, "blocks": 3}, *REGULARISED)

    patience: int = 0

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Convolutions that reduce the frames to a quarter, followed by Conformer blocks."""
        keras = import_keras()
        layers = keras.layers
        width = hp.Int("width", 64, 128, step=32, default=64)
        dropout = hp.Float("dropout", 0.0, 0.4, step=0.1, default=0.2)
        kernel = hp.Choice("kernel", [7, 15, 31], default=15)
        heads = hp.Choice("heads", [2, 4], default=4)
        inputs = values = keras.Input(input_shape)
        for _ in range(2):
            values = layers.Conv1D(width, 5, strides=2, padding="same", activation="relu")(values)
            values = batch_normalised(values)
        values = layers.Dropout(dropout)(values)
        for _ in range(hp.Int("blocks", 1, 4, default=2)):
            values = _half_step(values, dropout)
            if values.shape[1] > 1:  # Keras warns of attention over a single frame, which has no effect
                values = layers.Add()([values, _attended(values, heads, dropout)])
            values = layers.Add()([values, _convolved(values, kernel, dropout)])
            values = layers.LayerNormalization(epsilon=1e-6)(_half_step(values, dropout))
        values = layers.Dropout(dropout)(attention_mean(values))
        return keras.Model(inputs, layers.Dense(n_classes, activation="softmax")(values))


def _half_step(values: Any, dropout: float) -> Any:
    """Feed-forward module with half-step residual connection."""
    layers = import_keras().layers
    width = values.shape[-1]
    branch = layers.LayerNormalization(epsilon=1e-6)(values)
    branch = layers.Dropout(dropout)(layers.Dense(4 * width, activation="swish")(branch))
    branch = layers.Dropout(dropout)(layers.Dense(width)(branch))
    return layers.Add()([values, layers.Rescaling(0.5)(branch)])


def _attended(values: Any, heads: int, dropout: float) -> Any:
    """Self-attention module, without its residual connection."""
    layers = import_keras().layers
    values = layers.LayerNormalization(epsilon=1e-6)(values)
    values = layers.MultiHeadAttention(heads, values.shape[-1] // heads)(values, values)
    return layers.Dropout(dropout)(values)


def _convolved(values: Any, kernel: int, dropout: float) -> Any:
    """Convolution module (gated, depthwise, pointwise), without its residual connection."""
    layers = import_keras().layers
    width = values.shape[-1]
    values = layers.LayerNormalization(epsilon=1e-6)(values)
    gate = layers.Dense(width, activation="sigmoid")(values)
    values = layers.Multiply()([layers.Dense(width)(values), gate])
    values = layers.DepthwiseConv1D(kernel, padding="same", use_bias=False)(values)
    values = layers.Activation("swish")(batch_normalised(values))
    return layers.Dropout(dropout)(layers.Dense(width)(values))
