"""Blocks of a pretrained speech encoder, trained further."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from math import sqrt
from typing import Any, Self

import numpy as np

from marsbench.environment import import_extra
from marsbench.errors import ConfigError, PluginError
from marsbench.features.pretrained import EncoderFile, find_encoder
from marsbench.plugin.base import Plugin
from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Examples, FitContext
from marsbench.plugin.search_space import HyperParameters, Scalar
from marsbench_plugins.encoder_blocks import Block, Linear, Norm, encoder_blocks
from marsbench_plugins.networks import MIXUP, batch_normalised

_LEAST_VARIANCE = 1e-6
_TRAINING: Mapping[str, Scalar] = {**MIXUP, "label_smoothing": 0.1}


@dataclass
class EncoderFinetune(KerasModel):
    """Fine-tunes the next blocks of a Whisper-type encoder on hidden states of `speech_encoder_frames`.

    The blocks below are frozen: their outputs are features, extracted once. Those above start from the file's
    weights, and either low-rank additions to them are trained (LoRA, Hu et al. 2021, arXiv:2106.09685) or
    all of their weights. The head takes mean and standard deviation over time of all layers in the features
    and of each trained block. docs/encoders.md has an example.

    Args:
        encoder: a name of `bench models list`, or the path of an .onnx file; that of the features.
        sha256: checksum of the file; "" accepts any file and records its checksum.
        layer: number of the last layer in the features, whose output enters the first trained block.
        blocks: number of blocks that are trained.
        standardise: must be false, as the blocks need their own scale.

    Raises:
        ValueError: a parameter is out of range.
    """

    training = _TRAINING
    starting_points = ({"rank": 32}, {"rank": 0, "learning_rate": 2e-4})

    epochs: int = 15
    patience: int = 0
    standardise: bool = False
    encoder: str = ""
    sha256: str = ""
    layer: int = 2
    blocks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.standardise:
            raise ValueError("standardise must be false: pretrained blocks need frames on their own scale")
        for name, least in (("layer", 0), ("blocks", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter, with the encoder's name and checksum instead of its path, which affects no result.

        Raises:
            ConfigError: no encoder is given, or it is not on this machine.
            ExportError: the package onnx is missing.
        """
        if find_spec("onnx") is None:  # checked early; it is imported only during a fit
            import_extra("onnx", "encoder")
        return super().parameters | {"encoder": self._file.name, "sha256": self._file.sha256}

    def skip(self, other: Plugin) -> str | None:
        """Reason why features are not those of the layer below, of the same encoder."""
        layers, encoder = getattr(other, "layers", None), getattr(other, "encoder", "")
        if not isinstance(layers, list) or not layers or layers[-1] != self.layer:
            return (
                f"{self.name} needs hidden states of an encoder up to layer {self.layer}: "
                f"speech_encoder_frames, with the last of its layers = {self.name}.layer"
            )
        if encoder and find_encoder(encoder, getattr(other, "sha256", "")).sha256 != self._file.sha256:
            return f"{self.name} needs hidden states of its own encoder, {self._file.name}"
        return None

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Declare the hyperparameters, which depend neither on the features nor on the encoder."""
        super().declare(hp, (input_shape[0], self._pretrained[0].width), n_classes)

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """The blocks on the last layer in the features, and a linear head.

        Raises:
            PluginError: the features are no whole number of the encoder's layers, with or without level.
        """
        keras = import_keras()
        rank = hp.Choice("rank", [0, 4, 8, 16, 32], default=8)
        dropout = hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.3)
        width = self._pretrained[0].width
        n_layers, rest = divmod(input_shape[-1], width)
        if not n_layers or rest > 1:
            raise PluginError(
                f"{self.name}: frames of {input_shape[-1]} dimensions are no layers of "
                f"{self._file.name}, which have {width} each"
            )
        inputs = keras.Input(input_shape)
        # Frames of padding are all zero.
        real = keras.ops.any(keras.ops.not_equal(inputs, 0.0), axis=-1)
        hidden = inputs[..., (n_layers - 1) * width : n_layers * width]
        outputs = [inputs]
        weights: list[tuple[Any, Norm | Linear]] = []
        for block in self._pretrained:
            hidden = _transformed(hidden, real, block, rank, weights)
            outputs.append(hidden)
        values = batch_normalised(_moments(keras.ops.concatenate(outputs, axis=-1), real))
        values = keras.layers.Dropout(dropout)(values)
        network = keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(values))
        for layer, values in weights:
            layer.set_weights([*values[:2]])
        return network

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Train as every network; `n_parameters_` leaves out those that are frozen."""
        super().fit(train, hp, context)
        self.n_parameters_ = sum(int(np.prod(v.shape)) for v in self.network_.trainable_variables)
        return self

    @cached_property
    def _file(self) -> EncoderFile:
        if not self.encoder:
            raise ConfigError(
                f"{self.name} needs the encoder of its features: --set {self.name}.encoder=NAME, or the "
                "path of an .onnx file"
            )
        return find_encoder(self.encoder, self.sha256)

    @property
    def _pretrained(self) -> tuple[Block, ...]:
        file = self._file
        return encoder_blocks(file.name, file.sha256, file.path, self.layer, self.blocks)


def _transformed(
    hidden: Any, real: Any, block: Block, rank: int, weights: list[tuple[Any, Norm | Linear]]
) -> Any:
    """Output of a block; appends its layers to `weights`, with the values that they start from."""
    keras = import_keras()
    layers = keras.layers
    n_frames, width = hidden.shape[1:]

    def normalised(values: Any, norm: Norm) -> Any:
        layer = layers.LayerNormalization(epsilon=norm.epsilon, trainable=not rank)
        weights.append((layer, norm))
        return layer(values)

    def linear(values: Any, pretrained: Linear) -> Any:
        n_dims = len(pretrained.bias)
        layer = layers.Dense(n_dims, trainable=not rank)
        weights.append((layer, pretrained))
        if not rank:
            return layer(values)
        low = layers.Dense(rank, use_bias=False)(values)
        return layer(values) + layers.Dense(n_dims, use_bias=False, kernel_initializer="zeros")(low)

    values = normalised(hidden, block.attention_norm)
    heads = layers.Reshape((n_frames, block.n_heads, width // block.n_heads))
    query, key, value = (heads(linear(values, part)) for part in (block.query, block.key, block.value))
    attended = keras.ops.dot_product_attention(query, key, value, mask=real[:, None, None, :])
    hidden = hidden + linear(layers.Reshape((n_frames, width))(attended), block.attended)
    return hidden + linear(_gelu(linear(normalised(hidden, block.norm), block.wide)), block.narrow)


def _gelu(values: Any) -> Any:
    """Exact GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415), without Erfc, which ONNX lacks."""
    return 0.5 * values * (1.0 + import_keras().ops.erf(values / sqrt(2)))


def _moments(values: Any, real: Any) -> Any:
    """Means, then standard deviations over real frames: (n_clips, n_frames, n) to (n_clips, 2 n)."""
    ops = import_keras().ops
    shares = ops.cast(real, "float32")
    shares = (shares / ops.maximum(ops.sum(shares, axis=1, keepdims=True), 1.0))[..., None]
    means = ops.sum(values * shares, axis=1, keepdims=True)
    variances = ops.sum(ops.square(values - means) * shares, axis=1)
    return ops.concatenate([means[:, 0], ops.sqrt(variances + _LEAST_VARIANCE)], axis=-1)
