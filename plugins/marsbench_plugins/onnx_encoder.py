"""A pretrained encoder's ONNX graph: where its layers are, and a session that answers them."""

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
"""What Whisper's encoders are given where their file leaves it open."""
_NO_DATA = frozenset({"Shape", "Size"})
"""Operators whose result tells nothing of the values they are given."""


class OpenedEncoder:
    """An encoder whose chosen layers can be asked for."""

    def __init__(self, file: EncoderFile, layers: Sequence[Layer]) -> None:
        graph = _Parsed(file)
        self.name = file.name
        self._audio, self._masks = graph.audio, graph.masks
        self._layers = [graph.tensor(layer) for layer in layers]
        model = graph.answering(self._layers)
        try:
            self._session = onnx_session(model, "encoder")
        except ExportError:
            raise
        except Exception as error:  # onnxruntime has a dozen kinds
            raise PluginError(f"encoder {file.name} cannot be run: {_first_line(error)}") from error

    @property
    def window(self) -> int | None:
        """Samples that it hears at a time, what is missing being padding; None: any number."""
        shape = self._audio.shape
        if self._is_mel:
            return HOP * (shape[2] or _WHISPER_FRAMES)
        return shape[1]

    def __call__(self, samples: Floats) -> Floats:
        """The layers side by side for the frames that the samples reach into, (n_frames, n_dims).

        Args:
            samples: (n_samples,), at 16 kHz, no more than `window`.

        Raises:
            PluginError: it does not answer as an encoder of speech does.
        """
        sound = self._input(samples)
        is_real = (np.arange(sound.shape[-1]) < len(samples))[None].astype(np.int64)
        given = {self._audio.name: sound} | dict.fromkeys(self._masks, is_real)
        try:
            answers = self._session.run(self._layers, given)
        except Exception as error:  # onnxruntime has a dozen kinds
            raise PluginError(f"encoder {self.name} fails: {_first_line(error)}") from error
        for tensor, answer in zip(self._layers, answers, strict=True):
            if answer.ndim != 3 or len(answer) != 1:
                raise PluginError(
                    f"encoder {self.name}: {tensor} has shape {answer.shape}, not (1, n_frames, n_dims)"
                )
        return self._reached(np.concatenate([answer[0] for answer in answers], axis=1), len(samples))

    @property
    def _is_mel(self) -> bool:
        return len(self._audio.shape) == 3

    def _input(self, samples: Floats) -> Floats:
        if self._is_mel:
            n_frames = (self.window or 0) // HOP
            return whisper_log_mel(samples, n_frames, self._audio.shape[1] or _WHISPER_BANDS)[None]
        padding = (self.window or len(samples)) - len(samples)
        return np.pad(samples, (0, padding))[None].astype(np.float32)

    def _reached(self, frames: Floats, n_samples: int) -> Floats:
        """Without the frames that stand for padding alone."""
        if self.window is None:
            return frames
        return frames[: max(1, -(-len(frames) * n_samples // self.window))]


@lru_cache(maxsize=2)  # a process extracts a few clips at a time, each time with a new extractor
def opened_encoder(name: str, sha256: str, path: Path, layers: tuple[Layer, ...]) -> OpenedEncoder:
    """The encoder of a file, made ready once in a process.

    Raises:
        ConfigError: the file is not there, or not of that content.
        PluginError: it is no encoder, or has no such layer.
    """
    return OpenedEncoder(EncoderFile(name, sha256, path), layers)


class _Audio(NamedTuple):
    """A graph's input for sound: log-mel (batch, bands, frames) or samples (batch, n_samples)."""

    name: str
    shape: tuple[int | None, ...]
    """None where it is open."""


class _Parsed:
    """A file's graph, of which no code is run and no other file is read."""

    def __init__(self, file: EncoderFile) -> None:
        onnx = import_extra("onnx", "encoder")
        self._onnx, self._name = onnx, file.name
        data = file.read()
        try:
            self._model = onnx.load_model_from_string(data)
        except Exception as error:  # protobuf has kinds of its own
            raise PluginError(f"encoder {file.path} is no ONNX file") from error
        self._graph = self._model.graph
        if any(tensor.data_location or tensor.external_data for tensor in _tensors(self._graph)):
            raise PluginError(f"encoder {file.path} has weights in other files; a whole file is needed")
        self.audio = self._find_audio()

    @property
    def masks(self) -> list[str]:
        """Further inputs; the only ones that can be answered are masks of real samples."""
        return [entry.name for entry in self._inputs() if entry.name != self.audio.name]

    def tensor(self, layer: Layer) -> str:
        """Name of the tensor of a layer: 0 is what enters the first, or a name of the file itself."""
        if isinstance(layer, str):
            if layer not in {name for node in self._graph.node for name in node.output}:
                raise PluginError(f"encoder {self._name} has no tensor '{layer}'; its layers can be numbers")
            return layer
        found = self._layers()
        if not found:
            raise PluginError(f"no layers can be told in encoder {self._name}: name tensors of it as layers")
        if not 0 <= layer < len(found):
            raise PluginError(f"encoder {self._name} has no layer {layer}; there are 0 to {len(found) - 1}")
        return found[layer]

    def answering(self, tensors: Sequence[str]) -> bytes:
        """The model with those tensors for outputs."""
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
        """What enters the first layer and what leaves each, found by the shape of the graph.

        A Transformer's layer adds two results, of attention and of a small network, to what passes by them:
        these sums are the only tensors behind which two ways through the graph meet again by addition and
        that every way goes through (they dominate the output). One sum more, the first, is a convolutional
        encoding of positions. Where each sum is normalised (post-norm), the layer's result is what was.
        """
        way, sums = self._way()
        if len(sums) < 2:
            return []
        behind = sums[-1] - 1 - sums[-2]  # what follows a sum before the ways part again: nothing, or a norm
        sums = sums[len(sums) % 2 :]
        return [way[sums[0] - 1], *(way[place + behind] for place in sums[1::2])]

    def _way(self) -> tuple[list[str], list[int]]:
        """Every tensor that all ways from the sound to the output go through, and which of them are sums."""
        before: dict[str, tuple[int, str | None]] = {self.audio.name: (0, None)}
        sums: set[str] = set()
        for node in self._graph.node:  # each after those that it needs, as the format has it
            reached = [name for name in dict.fromkeys(node.input) if name in before]
            if not reached or node.op_type in _NO_DATA:
                continue
            common = reduce(lambda one, other: _meeting(before, one, other), reached)
            depth = before[common][0] + 1
            before |= {name: (depth, common) for name in node.output if name and name not in before}
            if node.op_type == "Add" and len(reached) == 2:
                sums.add(node.output[0])
        ends = [entry.name for entry in self._graph.output if entry.name in before]
        way: list[str] = []
        tensor: str | None = ends[0] if ends else None
        while tensor is not None:
            way.append(tensor)
            tensor = before[tensor][1]
        way.reverse()
        return way, [place for place, name in enumerate(way) if name in sums]


def _meeting(before: dict[str, tuple[int, str | None]], one: str, other: str) -> str:
    """The last tensor that all ways to both go through."""
    while one != other:
        if before[one][0] < before[other][0]:
            one, other = other, one
        one = before[one][1] or one
    return one


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant of a graph and of the graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
