"""What the built-in networks share."""

from collections.abc import Mapping
from typing import Any

from marsbench.plugin.keras.setup import import_keras
from marsbench.plugin.search_space import Scalar

MIXUP: Mapping[str, Scalar] = {
    "schedule": "cosine",
    "augment": True,
    "mixup": 0.3,
    "noise": 0.0,
    "dimension_mask": 0.0,
    "shift": 0.0,
    "time_mask": 0.0,
}
"""How small corpora are trained on: all epochs, at a falling rate, clips mixed two by two and not masked."""

REGULARISED: tuple[Mapping[str, Scalar], ...] = (
    {"learning_rate": 2e-3, "label_smoothing": 0.1},
    {"dimension_mask": 0.1, "time_mask": 0.1, "shift": 0.1},
)
"""Starting points of a search that hold a network back, each in another way."""


def batch_normalised(values: Any) -> Any:
    """Batch normalisation whose averages keep up with the weights where an epoch has few batches.

    With Keras's momentum of 0.99 they lag behind for epochs.
    """
    return import_keras().layers.BatchNormalization(momentum=0.9)(values)


def attention_mean(values: Any) -> Any:
    """Mean over time by learnt weights (Mirsamadi et al. 2017, doi:10.1109/ICASSP.2017.7952552).

    (n_clips, n_steps, width) -> (n_clips, width).
    """
    layers = import_keras().layers
    if values.shape[1] == 1:  # nothing to choose from, and Keras warns of it
        return layers.Flatten()(values)
    weights = layers.Dense(1)(layers.Dense(64, activation="tanh")(values))
    weights = layers.Softmax(axis=1)(weights)
    return layers.Flatten()(layers.Dot(axes=1)([weights, values]))
