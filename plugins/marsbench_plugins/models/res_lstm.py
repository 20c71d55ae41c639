"""Residual convolutions over time, followed by an LSTM."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.search_space import HyperParameters
from marsbench_plugins.networks import MIXUP, REGULARISED, attention_mean, batch_normalised


@dataclass
class ResLstm(KerasModel):
    """Residual convolutions over time, a bidirectional LSTM and attention pooling."""

    training = MIXUP
    starting_points = ({"filters": 96, "lstm_units": 96}, *REGULARISED)

    patience: int = 0

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Two residual blocks with pooling, which leave a quarter of the frames for the LSTM."""
        keras = import_keras()
        layers = keras.layers
        filters = hp.Int("filters", 32, 128, step=32, default=64)
        kernel = hp.Choice("kernel", [3, 5, 7], default=5)
        dropout = hp.Float("dropout", 0.1, 0.5, step=0.1, default=0.3)
        inputs = keras.Input(input_shape)
        values = _convolved(inputs, filters, kernel)
        for width in (filters, 2 * filters):
            branch = layers.Dropout(dropout)(_convolved(values, width, kernel))
            branch = _convolved(branch, width, kernel, activation=None)
            if width != values.shape[-1]:
                values = layers.Conv1D(width, 1)(values)
            values = layers.ReLU()(layers.Add()([values, branch]))
            values = layers.MaxPooling1D(2, padding="same")(values)  # "same" also works for a single frame
            values = layers.SpatialDropout1D(dropout / 2)(values)
        units = hp.Int("lstm_units", 32, 128, step=32, default=64)
        values = layers.Bidirectional(layers.LSTM(units, return_sequences=True))(values)
        values = layers.Dropout(dropout)(attention_mean(values))
        return keras.Model(inputs, layers.Dense(n_classes, activation="softmax")(values))


def _convolved(values: Any, filters: int, kernel: int, activation: str | None = "relu") -> Any:
    layers = import_keras().layers
    values = layers.Conv1D(filters, kernel, padding="same", use_bias=False)(values)
    values = batch_normalised(values)
    return layers.Activation(activation)(values) if activation else values
