"""The smallest Keras network: one softmax layer."""

from dataclasses import dataclass
from typing import Any, ClassVar

from marsbench.plugin import FeatureKind, HyperParameters, KerasModel
from marsbench.plugin.keras import import_keras


@dataclass
class TinyNet(KerasModel):
    """Trains by plain gradient descent, which diverges at a rate of 1e25."""

    accepts: ClassVar[FeatureKind] = "vector"
    epochs: int = 4
    patience: int = 0
    highest: float = 1.0
    """Of the rates that a tuner may try, on a logarithmic scale."""
    raises: bool = False
    """Whether networks with decay cannot be built."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Compile it, so that the base class declares no optimiser's parameters."""
        keras = import_keras()
        rate = hp.Float("rate", 1e-2, self.highest, sampling="log", default=0.1)
        if hp.Boolean("decays") and self.raises:
            raise RuntimeError("no luck today")
        with hp.conditional_scope("decays", [True]):
            decay = hp.Choice("decay", [1e-2, 1e-1])
        penalty = keras.regularizers.L2(1e-3 if decay is None else decay)
        layer = keras.layers.Dense(n_classes, activation="softmax", kernel_regularizer=penalty)
        network = keras.Sequential([keras.Input(input_shape), layer])
        network.compile(keras.optimizers.SGD(rate), "categorical_crossentropy", jit_compile=False)
        return network
