"""The reference network."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.keras_model import KerasModel
from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.tensorflow_setup import has_gpu, import_keras

_MOST_UNROLLED = 64
"""Steps of an LSTM; more take longer to trace than they save."""


@dataclass
class CnnLstm(KerasModel):
    """Two convolutions over time, a bidirectional LSTM and a dense layer."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Network whose defaults are the untuned reference."""
        keras = import_keras()
        layers = keras.layers
        filters = hp.Int("filters", 32, 128, step=32, default=64)
        kernel = hp.Choice("kernel", [3, 5, 7], default=5)
        dropout = hp.Float("dropout", 0.1, 0.5, step=0.1, default=0.3)
        pooling = hp.Choice("pooling", ["last", "mean", "attention"])
        inputs = values = keras.Input(input_shape)
        for width in (filters, 2 * filters):
            values = layers.Conv1D(width, kernel, padding="same", activation="relu")(values)
            values = layers.BatchNormalization()(values)
            values = layers.MaxPooling1D(2, padding="same")(values)  # "same": one frame survives it
            values = layers.Dropout(dropout)(values)
        lstm = layers.LSTM(
            hp.Int("lstm_units", 32, 128, step=32, default=64),
            return_sequences=pooling != "last",
            # On a CPU the loop costs more than its body; on a GPU cuDNN has a loop of its own.
            unroll=values.shape[1] <= _MOST_UNROLLED and not has_gpu(),
        )
        values = layers.Bidirectional(lstm)(values)
        if pooling == "mean":
            values = layers.GlobalAveragePooling1D()(values)
        elif pooling == "attention":
            values = _attended(values)
        values = layers.Dense(hp.Int("dense_units", 64, 256, step=64, default=128), activation="relu")(values)
        values = layers.Dropout(dropout)(values)
        return keras.Model(inputs, layers.Dense(n_classes, activation="softmax")(values))


def _attended(values: Any) -> Any:
    """Mean over time by learnt weights (Mirsamadi et al. 2017, doi:10.1109/ICASSP.2017.7952552)."""
    layers = import_keras().layers
    weights = layers.Dense(1)(layers.Dense(64, activation="tanh")(values))
    weights = layers.Softmax(axis=1)(weights)
    return layers.Flatten()(layers.Dot(axes=1)([weights, values]))
