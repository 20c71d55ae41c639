"""The reference network."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.search_space import HyperParameters, Scalar
from marsbench_plugins.networks import MIXUP, attention_mean

# `augment` alone is mixup, which pays with four times the epochs: docs/tuning.md has the measurements.
_TRAINING: dict[str, Scalar] = {
    **MIXUP,
    "schedule": "one_cycle",
    "learning_rate": 4e-3,
    "augment": False,
}


@dataclass
class CnnLstm(KerasModel):
    """Two convolutions over time, a bidirectional LSTM, attention pooling and a dense layer."""

    training = _TRAINING
    starting_points = (
        {"filters": 96, "lstm_units": 96},
        {"augment": True},
        {"learning_rate": 2e-3, "label_smoothing": 0.1},
    )

    epochs: int = 9
    batch_size: int = 0
    patience: int = 0

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """The reference network, whose defaults are the untuned configuration."""
        keras = import_keras()
        layers = keras.layers
        filters = hp.Int("filters", 32, 128, step=32, default=64)
        kernel = hp.Choice("kernel", [3, 5, 7], default=5)
        dropout = hp.Float("dropout", 0.1, 0.5, step=0.1, default=0.2)
        # With so few steps, the running averages of Keras's default, 0.99, lag behind the weights.
        momentum = hp.Choice("norm_momentum", [0.9, 0.99])
        pooling = hp.Choice("pooling", ["last", "mean", "attention"], default="attention")
        inputs = values = keras.Input(input_shape)
        for width in (filters, 2 * filters):
            values = layers.Conv1D(width, kernel, padding="same", activation="relu")(values)
            values = layers.BatchNormalization(momentum=momentum)(values)
            values = layers.MaxPooling1D(2, padding="same")(values)  # "same" also works for a single frame
            values = layers.Dropout(dropout)(values)
        units = hp.Int("lstm_units", 32, 128, step=32, default=64)
        lstm = layers.LSTM(units, return_sequences=pooling != "last")
        values = layers.Bidirectional(lstm)(values)
        if pooling == "mean":
            values = layers.GlobalAveragePooling1D()(values)
        elif pooling == "attention":
            values = attention_mean(values)
        values = layers.Dense(hp.Int("dense_units", 64, 256, step=64, default=128), activation="relu")(values)
        values = layers.Dropout(dropout)(values)
        return keras.Model(inputs, layers.Dense(n_classes, activation="softmax")(values))
