"""A convolutional network that treats frames as an image."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.search_space import HyperParameters


@dataclass
class Cnn2d(KerasModel):
    """Small 2D convolutional network over time and feature dimensions, with mean pooling over time."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Blocks of convolution, normalisation and pooling, each with twice the filters of the previous."""
        keras = import_keras()
        layers = keras.layers
        filters = hp.Int("filters", 8, 32, step=8, default=16)
        block_dropout = hp.Float("block_dropout", 0.0, 0.3, step=0.1, default=0.1)
        network = keras.Sequential([keras.Input(input_shape), layers.Reshape((*input_shape, 1))])
        for block in range(hp.Int("blocks", 2, 5, default=4)):
            stride = 1 if block else 2  # at full size, the first block would take as long as all others
            network.add(layers.Conv2D(filters * 2**block, 3, strides=stride, padding="same", use_bias=False))
            # On small corpora, the running averages of Keras's default, 0.99, lag behind the weights.
            network.add(layers.BatchNormalization(momentum=0.9))
            network.add(layers.ReLU())
            network.add(layers.MaxPooling2D(2, padding="same"))  # "same" also works for few dimensions
            network.add(layers.SpatialDropout2D(block_dropout))
        # Only time is averaged: results are much worse if feature dimensions are averaged too.
        network.add(layers.AveragePooling2D((network.output_shape[1], 1)))
        network.add(layers.Flatten())
        network.add(layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.3)))
        network.add(layers.Dense(n_classes, activation="softmax"))
        return network
