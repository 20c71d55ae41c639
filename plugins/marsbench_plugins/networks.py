"""Training settings and layers that the built-in networks share."""

from collections.abc import Mapping
from typing import Any

from marsbench.plugin.keras import import_keras
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
"""Settings for small corpora: all epochs, a cosine schedule, mixup and no masks."""

REGULARISED: tuple[Mapping[str, Scalar], ...] = (
    {"learning_rate": 2e-3, "label_smoothing": 0.1},
    {"dimension_mask": 0.1, "time_mask": 0.1, "shift": 0.1},
)
"""Starting points of a search with additional regularisation: label smoothing, or masks and shifts."""


def batch_normalised(values: Any) -> Any:
    """Batch normalisation with a momentum of 0.9.

    With few batches per epoch, the running averages of Keras's default, 0.99, lag behind the weights.
    """
    return import_keras().layers.BatchNormalization(momentum=0.9)(values)


def attention_mean(values: Any) -> Any:
    """Mean over time with learned weights (Mirsamadi et al. 2017, doi:10.1109/ICASSP.2017.7952552).

    From (n_clips, n_steps, width) to (n_clips, width).
    """
    layers = import_keras().layers
    if values.shape[1] == 1:  # the only weight is 1, and Keras warns of a softmax over one value
        return layers.Flatten()(values)
    weights = layers.Dense(1)(layers.Dense(64, activation="tanh")(values))
    weights = layers.Softmax(axis=1)(weights)
    return layers.Flatten()(layers.Dot(axes=1)([weights, values]))
