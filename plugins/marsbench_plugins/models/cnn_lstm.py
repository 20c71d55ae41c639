"""The reference network."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.keras_model import KerasModel
from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.tensorflow_setup import import_keras


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
        network = keras.Sequential([keras.Input(input_shape)])
        for width in (filters, 2 * filters):
            network.add(layers.Conv1D(width, kernel, padding="same", activation="relu"))
            network.add(layers.BatchNormalization())
            network.add(layers.MaxPooling1D(2, padding="same"))  # "same": one frame survives it
            network.add(layers.Dropout(dropout))
        network.add(layers.Bidirectional(layers.LSTM(hp.Int("lstm_units", 32, 128, step=32, default=64))))
        network.add(layers.Dense(hp.Int("dense_units", 64, 256, step=64, default=128), activation="relu"))
        network.add(layers.Dropout(dropout))
        network.add(layers.Dense(n_classes, activation="softmax"))
        return network
