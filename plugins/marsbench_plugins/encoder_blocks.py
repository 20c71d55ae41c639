"""Weights of the Transformer blocks of a Whisper-type encoder, read from its ONNX graph as float32 arrays.

Only data is read: nothing is executed. int8 weights are dequantised. A file of which the activations are
quantised too (`QuantizeLinear`, `DequantizeLinear`) gives the network that it was quantised from, up to the
rounding of its weights: the rounding of activations is left out.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.environment import import_extra
from marsbench.errors import PluginError
from marsbench.features.pretrained import EncoderFile
from marsbench.plugin.features import Floats
from marsbench_plugins.onnx_encoder import layer_graph

_UNCHANGED = frozenset({"DequantizeLinear", "Identity", "QuantizeLinear"})
"""Operators that give their first input, apart from rounding."""
_SAME_VALUES = _UNCHANGED | {"Reshape", "Transpose"}
_ELEMENTWISE = _UNCHANGED | {"Add", "Div", "Mul"}


class Linear(NamedTuple):
    """Weights of `x @ kernel + bias`: (n_in, n_out) and (n_out,)."""

    kernel: Floats
    bias: Floats


class Norm(NamedTuple):
    """Layer normalisation: scale and offset of each dimension, and what is added to the variance."""

    gamma: Floats
    beta: Floats
    epsilon: float


class Block(NamedTuple):
    """A pre-norm Transformer block: self-attention, then a feed-forward network with GELU."""

    n_heads: int
    attention_norm: Norm
    query: Linear
    key: Linear
    value: Linear
    attended: Linear
    """After the heads are joined."""
    norm: Norm
    wide: Linear
    narrow: Linear

    @property
    def width(self) -> int:
        """Number of dimensions of its input and output."""
        return len(self.attended.bias)


@lru_cache(maxsize=2)  # a network is built several times for one fit
def encoder_blocks(name: str, sha256: str, path: Path, layer: int, n_blocks: int) -> tuple[Block, ...]:
    """The blocks that compute the outputs of layers `layer` + 1 to `layer` + `n_blocks`.

    Raises:
        ConfigError: the file cannot be read or has another checksum.
        PluginError: it has no such layers, or they are not blocks of a Whisper-type encoder.
    """
    graph, layers = layer_graph(EncoderFile(name, sha256, path))
    last = len(layers) - 1
    if not 0 <= layer <= last - n_blocks:
        raise PluginError(
            f"encoder {name} has {max(0, last)} layers: no {n_blocks} after layer {layer} can be trained"
        )
    numbers = range(layer, layer + n_blocks)
    reader = _Reader(name, graph)
    return tuple(reader.block(layers[number], layers[number + 1]) for number in numbers)


class _Reader:
    """Follows a graph from results to what they are computed from."""

    def __init__(self, name: str, graph: Any) -> None:
        self._name = name
        self._makers = {output: node for node in graph.node for output in node.output}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}

    def block(self, start: str, end: str) -> Block:
        """The block between two tensors."""
        middle, branch = self._residual(end, lambda name: start in self._inputs_of(name))
        narrow, activated = self._unscaled(branch)
        wide, normed = self._unscaled(self._before_gelu(activated))
        _, branch = self._residual(middle, lambda name: name == start)
        attended, joined = self._unscaled(branch)
        mixed = self._node(joined, _SAME_VALUES, "MatMul")
        weights = self._node(mixed.input[0], _UNCHANGED, "Softmax")
        scores = self._node(weights.input[0], _SAME_VALUES, "MatMul")
        query, key = map(self._linear, scores.input)
        value = self._unscaled(mixed.input[1])
        norms = [self._norm(part[1], start) for part in (query, key, value)]
        # Their product is 1 / sqrt(dimensions of a head).
        n_heads = len(attended.bias) * (query[2] * key[2]) ** 2
        if abs(n_heads - round(n_heads)) > 1e-3 or not round(n_heads):
            raise self._refusal(f"scores scaled by {query[2] * key[2]:g} fit no whole number of heads")
        n_heads = round(n_heads)
        norm = self._norm(normed, middle)
        return Block(n_heads, norms[0], query[0], key[0], value[0], attended, norm, wide, narrow)

    def _refusal(self, reason: str) -> PluginError:
        return PluginError(
            f"encoder {self._name} cannot be trained, its layers are not those of Whisper's: {reason}"
        )

    def _inputs_of(self, name: str) -> list[str]:
        return list(self._makers[name].input) if name in self._makers else []

    def _residual(self, end: str, is_base: Callable[[str], bool]) -> tuple[str, str]:
        """The two terms of a sum, that of which `is_base` is true first."""
        terms = self._inputs_of(end)
        base = [name for name in terms if is_base(name)]
        if len(terms) != 2 or len(base) != 1 or self._makers[end].op_type != "Add":
            raise self._refusal(f"{end} is no sum of a block's input and a branch")
        return base[0], terms[1 - terms.index(base[0])]

    def _node(self, name: str, passed: frozenset[str], wanted: str) -> Any:
        """The operator `wanted` of which `name` is the result, after operators that are `passed`."""
        node = self._makers.get(name)
        while node is not None and node.op_type in passed:
            name = node.input[0]
            node = self._makers.get(name)
        if node is None or node.op_type != wanted:
            raise self._refusal(f"{name} is no {wanted}")
        return node

    def _unscaled(self, name: str) -> tuple[Linear, str]:
        """The linear map that gives `name`, and its input."""
        linear, source, factor = self._linear(name)
        if factor != 1:
            raise self._refusal(f"{name} is multiplied by {factor:g}")
        return linear, source

    def _linear(self, name: str) -> tuple[Linear, str, float]:
        """The linear map that gives `name`, its input, and the factor by which its result is multiplied."""
        factor, bias = 1.0, np.zeros((), np.float32)
        while (node := self._makers.get(name)) is not None:
            if node.op_type in {"Gemm", "MatMul"}:
                kernel, own = self._weights(node)
                total = ((bias + factor * own) / factor).reshape(-1)
                if total.size not in {1, kernel.shape[1]}:
                    raise self._refusal(f"what is added to {name} differs between frames")
                return Linear(kernel, np.broadcast_to(total, kernel.shape[1:])), node.input[0], factor
            if node.op_type in _SAME_VALUES:
                name = node.input[0]
                continue
            name, constant = self._operands(node)
            if node.op_type == "Add":
                bias = bias + factor * constant
            elif node.op_type in {"Div", "Mul"} and constant.size == 1:
                factor *= float(constant.item()) ** (1 if node.op_type == "Mul" else -1)
            else:
                raise self._refusal(f"{node.op_type} after a matrix product")
        raise self._refusal(f"{name} is no matrix product")

    def _operands(self, node: Any) -> tuple[str, NDArray[np.float32]]:
        """The input of a binary operator that is computed, and the one that is constant."""
        constants = [self._constant(name) for name in node.input] if node is not None else []
        for place, constant in enumerate(constants):
            if len(constants) == 2 and constant is not None:
                return node.input[1 - place], constant
        raise self._refusal(f"{node.op_type if node is not None else 'an input'} without a constant")

    def _weights(self, node: Any) -> tuple[Floats, Floats]:
        """Kernel (n_in, n_out) and bias of a matrix product."""
        kernel, *bias = (self._constant(name) for name in node.input[1:])
        if kernel is None or kernel.ndim != 2 or None in [*map(type, bias)]:
            raise self._refusal(f"the weights of {node.output[0]} are no constants")
        options = _attributes(node)
        if options.get("alpha", 1) != 1 or options.get("beta", 1) != 1 or options.get("transA", 0):
            raise self._refusal(f"{node.output[0]} is no plain matrix product")
        kernel = kernel.T if options.get("transB", 0) else kernel
        return kernel, bias[0] if bias and bias[0] is not None else np.zeros((), np.float32)

    def _before_gelu(self, name: str) -> str:
        """What GELU, by the error function, is applied to."""
        waiting = [name]
        while waiting:
            node = self._makers.get(waiting.pop())
            if node is None:
                continue
            if node.op_type == "Gelu" and _attributes(node).get("approximate", b"none") == b"none":
                return str(node.input[0])
            if node.op_type == "Erf":
                return self._operands(self._makers.get(node.input[0]))[0]
            if node.op_type in _ELEMENTWISE:
                waiting += node.input
        raise self._refusal("the activation is not GELU")

    def _norm(self, name: str, start: str) -> Norm:
        """The layer normalisation of `start` that gives `name`, as one operator or as ten."""
        while (node := self._makers.get(name)) is not None and node.op_type in _UNCHANGED:
            name = node.input[0]
        if node is not None and node.op_type == "LayerNormalization":
            gamma, beta = [*map(self._constant, node.input[1:3]), None][:2]
            epsilon, source = _attributes(node).get("epsilon", 1e-5), node.input[0]
        else:
            node = self._node(name, frozenset(), "Add")
            scaled, beta = self._operands(node)
            ratio, gamma = self._operands(self._node(scaled, frozenset(), "Mul"))
            centred, deviation = self._node(ratio, frozenset(), "Div").input
            variance = self._node(deviation, frozenset(), "Sqrt").input[0]
            epsilon = self._operands(self._node(variance, frozenset(), "Add"))[1].item()
            source = self._node(centred, frozenset(), "Sub").input[0]
        if source != start or gamma is None or beta is None:
            raise self._refusal(f"{name} is no layer normalisation of {start}")
        return Norm(gamma, beta, epsilon)

    def _constant(self, name: str) -> NDArray[np.float32] | None:
        """The values of a tensor that depends on no input, dequantised; None for others."""
        to_array = import_extra("onnx.numpy_helper", "encoder").to_array
        if name in self._tensors:
            return np.asarray(to_array(self._tensors[name]), np.float32)
        node = self._makers.get(name)
        if node is None or node.op_type not in _CONSTANT:
            return None
        if node.op_type == "Constant":
            return np.asarray(to_array(node.attribute[0].t), np.float32)
        inputs = [self._constant(part) for part in node.input]
        values = [value for value in inputs if value is not None]
        return _CONSTANT[node.op_type](node, values) if len(values) == len(inputs) else None


def _dequantised(node: Any, values: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(x - zero point) * scale, with one scale for all or one for each index of an axis."""
    options = _attributes(node)
    if options.get("block_size"):
        raise PluginError("an encoder with weights that are quantised in blocks cannot be trained")
    shape = [1] * values[0].ndim
    if values[1].size > 1:
        shape[options.get("axis", 1)] = -1
    scale, *zero = (value.reshape(shape) for value in values[1:])
    return (values[0] - zero[0] if zero else values[0]) * scale


_CONSTANT: dict[str, Callable[[Any, list[NDArray[np.float32]]], NDArray[np.float32]]] = {
    "Constant": lambda _node, values: values[0],
    "DequantizeLinear": _dequantised,
    "Identity": lambda _node, values: values[0],
    "Transpose": lambda node, values: values[0].transpose(_attributes(node).get("perm")),
}


def _attributes(node: Any) -> dict[str, Any]:
    value = import_extra("onnx", "encoder").helper.get_attribute_value
    return {attribute.name: value(attribute) for attribute in node.attribute}
