"""Sessions of one encoder that share their runs: what an ensemble's extractors ask it for is computed once.

Each extractor opens a session of its own, of a graph that differs from the others' by its outputs alone.
Inside `shared_runs` such sessions are one: the first to be run with some input computes what any of them
wants, and those that are run with the same input later are given it.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

Opened = Callable[[bytes], Any]
"""Makes an `onnxruntime.InferenceSession` of a serialised model."""

_GRAPH, _OUTPUT, _NAME = 7, 12, 1
"""Numbers of fields: the graph in an `onnx.ModelProto`, an output in a graph, the name of an output."""
_SIZED = 2
"""Wire type of a field that begins with its size."""
_FIXED = {1: 8, 5: 4}
"""Bytes of numbers of fixed size, by their wire type."""

_answers: ContextVar[dict[bytes, dict[str, Any]] | None] = ContextVar("_answers", default=None)
"""Outputs by name, by graph and input; None outside `shared_runs`."""


@contextmanager
def shared_runs() -> Iterator[None]:
    """Let sessions that are opened inside share their runs inside; what they computed is then forgotten."""
    token = _answers.set({})
    try:
        yield
    finally:
        _answers.reset(token)


def is_shared() -> bool:
    """Whether runs are shared at the moment."""
    return _answers.get() is not None


class SharedSession:
    """As the session of a serialised model; a run of it may be one of another session of the same graph."""

    def __init__(self, data: bytes, opened: Opened) -> None:
        """Raises ValueError if it is no ONNX model, and what `opened` raises."""
        rest, outputs = _parted(data)
        self._names = list(outputs)
        self._graph = _graphs.setdefault(rest, _Graph(rest))
        self._graph.include(data, outputs, opened)

    def run(self, names: Sequence[str] | None, inputs: dict[str, Any], options: Any = None) -> list[Any]:
        """Outputs of some names, all if None; they are not to be written to."""
        wanted = self._names if names is None else names
        answers = _answers.get()
        if answers is None:
            found: list[Any] = self._graph.session.run(wanted, inputs, options)
            return found
        key = self._graph.key(inputs)
        if not answers.get(key, {}).keys() >= set(wanted):
            answers[key] = self._graph.run(inputs, options)
        return [answers[key][name] for name in wanted]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph.session, name)


class _Graph:
    """A graph with every output that some session wants."""

    session: Any

    def __init__(self, rest: bytes) -> None:
        self._rest = rest
        self._outputs: dict[str, bytes] = {}

    def include(self, data: bytes, outputs: dict[str, bytes], opened: Opened) -> None:
        """Compute these outputs too; `data` is the graph with them alone."""
        if outputs.keys() <= self._outputs.keys():
            return
        more = b"".join(
            _field(_OUTPUT, entry) for name, entry in self._outputs.items() if name not in outputs
        )
        # A message's bytes behind another's are that message with the fields of both.
        self.session = opened(data + _field(_GRAPH, more) if more else data)
        self._outputs |= outputs

    def key(self, inputs: dict[str, Any]) -> bytes:
        """Digest of the graph and an input."""
        found = hashlib.sha256(self._rest)
        for name, value in sorted(inputs.items()):
            array = np.asarray(value)
            found.update(f"{name} {array.dtype} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.digest()

    def run(self, inputs: dict[str, Any], options: Any) -> dict[str, Any]:
        """All outputs by name."""
        names = list(self._outputs)
        return dict(zip(names, self.session.run(names, inputs, options), strict=True))


_graphs: WeakValueDictionary[bytes, _Graph] = WeakValueDictionary()
"""Those that some session is of, by the digest of all but their outputs."""


def _parted(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Digest of a serialised model without its outputs, and these by name; raises ValueError."""
    rest, outputs = hashlib.sha256(), {}
    for number, start, value, end in fields(data):
        if number != _GRAPH:
            rest.update(data[start:end])
            continue
        graph = data[value:end]
        for inner, begin, entry, close in fields(graph):
            if inner == _OUTPUT:
                outputs[_name(graph[entry:close])] = graph[entry:close]
            else:
                rest.update(graph[begin:close])
    return rest.digest(), outputs


def _name(output: bytes) -> str:
    names = (output[value:end] for number, _, value, end in fields(output) if number == _NAME)
    return next(names, b"").decode()


def _field(number: int, value: bytes) -> bytes:
    return _written(number << 3 | _SIZED) + _written(len(value)) + value


def fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Number, start, start of the value and end of each field of a message in Protocol Buffers' wire format.

    Raises:
        ValueError: it is no such message.
    """
    place = 0
    try:
        while place < len(data):
            start = place
            key, place = _varint(data, place)
            value = place
            if key & 7 == _SIZED:
                size, value = _varint(data, place)
                place = value + size
            elif key & 7 == 0:
                _, place = _varint(data, place)
            else:
                place += _FIXED[key & 7]
            yield key >> 3, start, value, place
    except LookupError as error:
        raise ValueError("not an ONNX model") from error


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place, 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _written(number: int) -> bytes:
    """A number as `_varint` reads it."""
    digits = []
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
