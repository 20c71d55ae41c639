"""Run pretrained speech encoders in ONNX format: find their layers, and compute the outputs of layers."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marsbench.environment import import_extra
from marsbench.errors import ExportError, PluginError
from marsbench.features.pretrained import EncoderFile
from marsbench.plugin.features import Floats
from marsbench.plugin.onnx import onnx_session
from marsbench_plugins.whisper_mel import HOP, whisper_log_mel

Layer = int | str
_FLOAT = 1
"""Number of `onnx.TensorProto.FLOAT`, fixed by the format."""
_WHISPER_FRAMES = 3000
_WHISPER_BANDS = 80
"""Input size of Whisper's encoders whose file does not specify it."""
_NO_DATA = frozenset({"Shape", "Size"})
"""Operators whose output does not depend on the values of their input."""


class OpenedEncoder:
    """An encoder session that computes the outputs of some layers."""

    def __init__(self, file: EncoderFile, layers: Sequence[Layer]) -> None:
        graph = _Parsed(file)
        self.name = file.name
        self._audio, self._masks = graph.audio, graph.masks
        self._layers = [graph.tensor(layer) for layer in layers]
        model = graph.with_outputs(self._layers)
        try:
            self._session = onnx_session(model, "encoder")
        except ExportError:
            raise
        except Exception as error:  # onnxruntime raises a dozen types
            raise PluginError(f"encoder {file.name} cannot be run: {_first_line(error)}") from error

    @property
    def window(self) -> int | None:
        """Number of samples of the input, to which shorter ones are padded; None for any number."""
        shape = self._audio.shape
        if self._is_mel:
            return HOP * (shape[2] or _WHISPER_FRAMES)
        return shape[1]

    def __call__(self, samples: Floats) -> Floats:
        """Concatenated outputs of the layers, without frames of padding, (n_frames, n_dims).

        Args:
            samples: (n_samples,), at 16 kHz, at most `window`.

        Raises:
            PluginError: the model fails, or its outputs do not have the shape of a speech encoder's.
        """
        audio = self._input(samples)
        is_real = (np.arange(audio.shape[-1]) < len(samples))[None].astype(np.int64)
        inputs = {self._audio.name: audio} | dict.fromkeys(self._masks, is_real)
        try:
            outputs = self._session.run(self._layers, inputs)
        except Exception as error:  # onnxruntime raises a dozen types
            raise PluginError(f"encoder {self.name} fails: {_first_line(error)}") from error
        for tensor, output in zip(self._layers, outputs, strict=True):
            if output.ndim != 3 or len(output) != 1:
                raise PluginError(
                    f"encoder {self.name}: {tensor} has shape {output.shape}, not (1, n_frames, n_dims)"
                )
        return self._without_padding(np.concatenate([output[0] for output in outputs], axis=1), len(samples))

    @property
    def _is_mel(self) -> bool:
        return len(self._audio.shape) == 3

    def _input(self, samples: Floats) -> Floats:
        if self._is_mel:
            n_frames = (self.window or 0) // HOP
            return whisper_log_mel(samples, n_frames, self._audio.shape[1] or _WHISPER_BANDS)[None]
        padding = (self.window or len(samples)) - len(samples)
        return np.pad(samples, (0, padding))[None].astype(np.float32)

    def _without_padding(self, frames: Floats, n_samples: int) -> Floats:
        """Frames that depend on at least one of the samples."""
        if self.window is None:
            return frames
        return frames[: max(1, -(-len(frames) * n_samples // self.window))]


@lru_cache(maxsize=2)  # every extraction task creates a new extractor
def opened_encoder(name: str, sha256: str, path: Path, layers: tuple[Layer, ...]) -> OpenedEncoder:
    """The session of an encoder file, created once per process.

    Raises:
        ConfigError: the file cannot be read or has another checksum.
        PluginError: it is not a speech encoder, or has no such layer.
    """
    return OpenedEncoder(EncoderFile(name, sha256, path), layers)


def layer_graph(file: EncoderFile) -> tuple[Any, list[str]]:
    """The `onnx.GraphProto` of a file, and its layers' tensors: input of the first, output of each.

    Raises:
        ConfigError: the file cannot be read or has another checksum.
        PluginError: it is not a speech encoder in a single file.
    """
    parsed = _Parsed(file)
    return parsed._graph, parsed._layers()  # noqa: SLF001 - of this module


class _Audio(NamedTuple):
    """The audio input of a graph: log-mel (batch, bands, frames) or samples (batch, n_samples)."""

    name: str
    shape: tuple[int | None, ...]
    """None for dimensions of any size."""


class _Parsed:
    """The graph of a file; parsing it executes no code and reads no other file."""

    def __init__(self, file: EncoderFile) -> None:
        onnx = import_extra("onnx", "encoder")
        self._onnx, self._name = onnx, file.name
        data = file.read()
        try:
            self._model = onnx.load_model_from_string(data)
        except Exception as error:  # protobuf has its own exceptions
            raise PluginError(f"encoder {file.path} is not an ONNX file") from error
        self._graph = self._model.graph
        if any(tensor.data_location or tensor.external_data for tensor in _tensors(self._graph)):
            raise PluginError(f"encoder {file.path} has weights in other files; a single file is needed")
        self.audio = self._find_audio()

    @property
    def masks(self) -> list[str]:
        """Names of further inputs, which are taken for masks of real samples."""
        return [entry.name for entry in self._inputs() if entry.name != self.audio.name]

    def tensor(self, layer: Layer) -> str:
        """Name of a layer's output tensor (0: the input of the first), or `layer` if it is a name."""
        if isinstance(layer, str):
            if layer not in {name for node in self._graph.node for name in node.output}:
                raise PluginError(f"encoder {self._name} has no tensor '{layer}'; give layers by number")
            return layer
        found = self._layers()
        if not found:
            raise PluginError(
                f"the layers of encoder {self._name} cannot be determined; give them by names of tensors"
            )
        if not 0 <= layer < len(found):
            raise PluginError(f"encoder {self._name} has no layer {layer}. Available: 0 to {len(found) - 1}.")
        return found[layer]

    def with_outputs(self, tensors: Sequence[str]) -> bytes:
        """The serialised model with those tensors as outputs."""
        info = self._onnx.helper.make_tensor_value_info
        del self._graph.output[:]
        self._graph.output.extend(info(name, _FLOAT, None) for name in dict.fromkeys(tensors))
        data: bytes = self._model.SerializeToString()
        return data

    def _inputs(self) -> list[Any]:
        constants = {tensor.name for tensor in self._graph.initializer}
        return [entry for entry in self._graph.input if entry.name not in constants]

    def _find_audio(self) -> _Audio:
        for entry in self._inputs():
            kind = entry.type.tensor_type
            shape = tuple(size.dim_value or None for size in kind.shape.dim)
            if kind.elem_type == _FLOAT and len(shape) in {2, 3}:
                return _Audio(entry.name, shape)
        raise PluginError(
            f"encoder {self._name} has no input of samples (batch, n_samples) or of log-mel bands"
            " (batch, n_bands, n_frames)"
        )

    def _layers(self) -> list[str]:
        """Tensors of the first layer's input and of each layer's output, found by the structure of the graph.

        A Transformer layer has two residual additions, of attention and of a feed-forward network. Their sums
        are the only additions of two data paths that dominate the output (every path to it goes through
        them). An additional first sum is a convolutional position encoding. If each sum is followed by a
        normalisation (post-norm), the layer's output is the normalised sum.
        """
        path, sums = self._dominators()
        if len(sums) < 2:
            return []
        offset = sums[-1] - 1 - sums[-2]  # 1 if a normalisation follows each sum, else 0
        sums = sums[len(sums) % 2 :]
        return [path[sums[0] - 1], *(path[index + offset] for index in sums[1::2])]

    def _dominators(self) -> tuple[list[str], list[int]]:
        """Tensors that every path from audio input to output goes through, and indices of sums in them."""
        # Depth and parent of each tensor in the dominator tree.
        parents: dict[str, tuple[int, str | None]] = {self.audio.name: (0, None)}
        sums: set[str] = set()
        for node in self._graph.node:  # in topological order, as ONNX requires
            inputs = [name for name in dict.fromkeys(node.input) if name in parents]
            if not inputs or node.op_type in _NO_DATA:
                continue
            common = reduce(lambda one, other: _common_dominator(parents, one, other), inputs)
            depth = parents[common][0] + 1
            parents |= {name: (depth, common) for name in node.output if name and name not in parents}
            if node.op_type == "Add" and len(inputs) == 2:
                sums.add(node.output[0])
        ends = [entry.name for entry in self._graph.output if entry.name in parents]
        path: list[str] = []
        tensor: str | None = ends[0] if ends else None
        while tensor is not None:
            path.append(tensor)
            tensor = parents[tensor][1]
        path.reverse()
        return path, [index for index, name in enumerate(path) if name in sums]


def _common_dominator(parents: dict[str, tuple[int, str | None]], one: str, other: str) -> str:
    """Nearest common ancestor of two tensors in the dominator tree."""
    while one != other:
        if parents[one][0] < parents[other][0]:
            one, other = other, one
        one = parents[one][1] or one
    return one


def _tensors(graph: Any) -> Iterator[Any]:
    """All constant tensors of a graph and its subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
