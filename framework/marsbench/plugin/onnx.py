"""ONNX graphs written as arithmetic, for a plugin's `onnx_graph`.

    graph = Graph("loudness")
    waveform = graph.input("waveform", np.float32, ["n_samples"])
    graph.output("features", (waveform * waveform).mean(0, keep=True), [1])
    model = graph.model()

The package onnx, of the extra `export`, is imported by `Graph.model`, not before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial, reduce
from importlib import import_module
from threading import Timer
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from marsbench.environment import import_extra
from marsbench.plugin.onnx_sharing import SharedSession, fields, is_shared

OPSET = 18
"""Newest version that onnxruntime, tf2onnx and skl2onnx all support."""
IR_VERSION = 10
_SILENT = 4
"""Log level of onnxruntime: what it logs of an error is raised, too."""
_MAX_BYTES = 1 << 31
"""Memory for the tensors of all models that are not trusted."""
RUN_SECONDS = 60.0
"""Longest run of a model that is not trusted."""
_FUNCTIONS = 25
"""Number of the field `functions` in an `onnx.ModelProto`."""
PROBABILITIES = "probabilities"
"""Name of the output of `Model.onnx_graph`."""
LARGEST = np.iinfo(np.int64).max
"""End of a part that extends to the end of its axis."""


def _with_operand(operator: str, kind: DTypeLike | None = None) -> Callable[["Value", "Operand"], "Value"]:
    """Method that applies an element-wise operator to a value and an operand; `kind` is the result's type."""
    return lambda self, other: self.graph.node(operator, self, self.like(other), kind=kind or self.kind)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that a graph will compute. Numbers and arrays combined with it are converted to its type."""

    graph: "Graph"
    name: str
    kind: "np.dtype[Any]"

    __add__ = _with_operand("Add")
    __sub__ = _with_operand("Sub")
    __mul__ = _with_operand("Mul")
    __truediv__ = _with_operand("Div")
    __matmul__ = _with_operand("MatMul")
    __and__ = _with_operand("And")
    __lt__ = _with_operand("Less", np.bool_)
    __gt__ = _with_operand("Greater", np.bool_)
    __ge__ = _with_operand("GreaterOrEqual", np.bool_)
    at_least = _with_operand("Max")
    at_most = _with_operand("Min")

    def __neg__(self) -> "Value":
        return self.apply("Neg")

    def apply(self, operator: str, **attributes: Any) -> "Value":
        """Result of an operator with this one input, of the same type."""
        return self.graph.node(operator, self, kind=self.kind, **attributes)

    def cast(self, kind: DTypeLike) -> "Value":
        """The same values in another type."""
        number = _onnx_type(kind)
        return self.graph.node("Cast", self, kind=kind, to=number) if self.kind != kind else self

    def where(self, yes: "Value", no: "Operand") -> "Value":
        """`yes` where this is true, `no` elsewhere."""
        return self.graph.node("Where", self, yes, yes.like(no), kind=yes.kind)

    def sum(self, axis: int | None = None, *, keep: bool = False) -> "Value":
        """Sum over an axis, or over all of them."""
        return self._reduced("ReduceSum", axis, keep)

    def mean(self, axis: int | None = None, *, keep: bool = False) -> "Value":
        """Mean over an axis, or over all of them."""
        return self._reduced("ReduceMean", axis, keep)

    def max(self, axis: int | None = None, *, keep: bool = False) -> "Value":
        """Maximum over an axis, or over all of them."""
        return self._reduced("ReduceMax", axis, keep)

    def part(self, start: "Size", end: "Size" = LARGEST, axis: int = 0) -> "Value":
        """Elements from `start` to `end` (excluded) along an axis."""
        graph = self.graph
        ends = graph.vector(start), graph.vector(end), graph.vector(axis)
        return graph.node("Slice", self, *ends, kind=self.kind)

    def take(self, indices: "Operand", axis: int = 0) -> "Value":
        """Elements at some indices along an axis."""
        places = self.graph.value(indices, np.int64)
        return self.graph.node("Gather", self, places, kind=self.kind, axis=axis)

    def reshape(self, *shape: "Size") -> "Value":
        """The same values in another shape; 0 keeps a size, -1 is computed from the others."""
        return self.graph.node("Reshape", self, self.graph.vector(*shape), kind=self.kind)

    def transpose(self, *order: int) -> "Value":
        """Axes permuted into that order."""
        return self.apply("Transpose", perm=list(order))

    def size(self, axis: int) -> "Value":
        """Length of an axis, an int64 scalar."""
        shape = self.graph.node("Shape", self, kind=np.int64)
        return shape.take(np.int64(axis))

    def sorted(self, n: "Size", axis: int, *, largest: bool = False) -> "Value":
        """The `n` smallest elements along an axis in ascending order, or the largest in descending order."""
        kinds = {"values": self.kind, "places": np.dtype(np.int64)}
        n_first = self.graph.vector(n)
        return self.graph.nodes("TopK", [self, n_first], kinds, axis=axis, largest=int(largest))[0]

    def like(self, other: "Operand") -> "Value":
        """`other` as a value; a number or an array becomes a constant of this value's type."""
        return self.graph.value(other, self.kind)

    def _reduced(self, operator: str, axis: int | None, keep: bool) -> "Value":
        axes = [] if axis is None else [self.graph.vector(axis)]
        return self.graph.node(operator, self, *axes, kind=self.kind, keepdims=int(keep))


Operand = Value | ArrayLike
Size = Value | int


class Graph:
    """A graph under construction: nodes in the order of the calls that add them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[dict[str, Any]] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._ends: dict[str, list[tuple[str, Any, Sequence[int | str]]]] = {"inputs": [], "outputs": []}

    def input(self, name: str, kind: DTypeLike, shape: Sequence[int | str]) -> Value:
        """Add an input; a name in `shape` stands for any size."""
        self._ends["inputs"].append((name, kind, shape))
        return Value(self, name, np.dtype(kind))

    def output(self, name: str, value: Value, shape: Sequence[int | str]) -> None:
        """Add an output."""
        self._nodes.append({"op_type": "Identity", "inputs": [value.name], "outputs": [name]})
        self._ends["outputs"].append((name, value.kind, shape))

    def value(self, operand: Operand, kind: DTypeLike) -> Value:
        """The operand itself if it is a value, else a constant of that type."""
        if isinstance(operand, Value):
            return operand
        name = f"constant_{len(self._constants)}"
        self._constants[name] = np.asarray(operand, kind)
        return Value(self, name, np.dtype(kind))

    def vector(self, *sizes: Size) -> Value:
        """Sizes as a vector, int64 (n_sizes,)."""
        if not any(isinstance(size, Value) for size in sizes):
            return self.value(np.array(sizes), np.int64)
        rows = [
            size.reshape(1) if isinstance(size, Value) else self.value([size], np.int64) for size in sizes
        ]
        return self.joined(rows, axis=0)

    def joined(self, parts: Sequence[Value], axis: int) -> Value:
        """Values concatenated along an axis."""
        return self.node("Concat", *parts, kind=parts[0].kind, axis=axis)

    def range(self, end: Value) -> Value:
        """0, 1, ..., `end` - 1, int64."""
        return self.node("Range", *(self.value(number, np.int64) for number in (0, end, 1)), kind=np.int64)

    def node(self, operator: str, *inputs: Value, kind: DTypeLike, **attributes: Any) -> Value:
        """Add an operator; its result has the type `kind`."""
        return self.nodes(operator, inputs, {"result": np.dtype(kind)}, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[Value], kinds: dict[str, "np.dtype[Any]"], **attributes: Any
    ) -> tuple[Value, ...]:
        """Add an operator with several results; `kinds` has their names and types."""
        number = len(self._nodes)
        results = tuple(
            Value(self, f"{operator}_{number}_{word}", np.dtype(kind)) for word, kind in kinds.items()
        )
        names = {"inputs": [value.name for value in inputs], "outputs": [value.name for value in results]}
        self._nodes.append({"op_type": operator, **names, **attributes})
        return results

    def model(self) -> Any:
        """The graph as an `onnx.ModelProto`."""
        onnx = import_onnx()
        make = onnx.helper
        inputs, outputs = (
            [make.make_tensor_value_info(name, _onnx_type(kind), shape) for name, kind, shape in ends]
            for ends in self._ends.values()
        )
        constants = [onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        nodes = [make.make_node(**node) for node in self._nodes]
        body = make.make_graph(nodes, self.name, inputs, outputs, constants)
        opset = make.make_opsetid("", OPSET)
        return make.make_model(body, ir_version=IR_VERSION, opset_imports=[opset])


def rbf_kernel(inputs: Value, centres: ArrayLike, gamma: float) -> Value:
    """exp(-gamma * squared distance) of inputs (n, n_dims) and centres (n_centres, n_dims)."""
    marks = np.asarray(centres)
    lengths = (inputs * inputs).sum(1, keep=True) + np.square(marks).sum(axis=1)
    distances: Value = (lengths - (inputs @ marks.T) * 2).at_least(0)
    return (distances * -gamma).apply("Exp")


def import_onnx() -> Any:
    """The package onnx; raises ExportError if it is not installed."""
    return import_extra("onnx", "export")


_TYPES: dict[Any, int] = {
    np.dtype(np.float32): 1,
    np.dtype(np.int64): 7,
    np.dtype(np.bool_): 9,
    np.dtype(np.float64): 11,
}
"""Numbers of `onnx.TensorProto.DataType`, fixed by the format."""


def _onnx_type(kind: DTypeLike) -> int:
    return _TYPES[np.dtype(kind)]


def onnx_session(data: bytes, extra: str, *, is_trusted: bool = True) -> Any:
    """An `onnxruntime.InferenceSession` on one core, so that results do not depend on the number of cores.

    Weights in other files, to which `data` may refer, are not read. A model that is not trusted gets at most
    `_MAX_BYTES` of memory for its tensors; `run_bounded` bounds the time of each run. Inside
    `shared_runs` the session of a trusted one shares its runs.

    Raises:
        ExportError: onnxruntime is not installed; `extra` of marsbench installs it.
        ValueError: a model that is not trusted is no ONNX model, or defines functions of its own.
    """
    runtime = import_extra("onnxruntime", extra)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    optimisers = []
    if not is_trusted:
        # n functions, each calling the one before twice: 2 ** n nodes.
        if any(number == _FUNCTIONS for number, *_ in fields(data)):
            raise ValueError("it defines functions of its own, which is not accepted")
        _bound_memory(runtime)
        options.add_session_config_entry("session.use_env_allocators", "1")
        optimisers = ["ConstantFolding"]  # computes while a file is read, without the bounds
    opened = partial(
        runtime.InferenceSession,
        sess_options=options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=optimisers,
    )
    return SharedSession(data, opened) if is_trusted and is_shared() else opened(data)


def run_bounded(session: Any, inputs: dict[str, Any]) -> list[Any]:
    """All outputs of a session, within `RUN_SECONDS`; raises what onnxruntime raises, also after that."""
    options = import_module("onnxruntime").RunOptions()
    options.log_severity_level = _SILENT
    alarm = Timer(RUN_SECONDS, setattr, (options, "terminate", True))
    alarm.start()
    try:
        outputs: list[Any] = session.run(None, inputs, options)
    finally:
        alarm.cancel()
    return outputs


@cache
def _bound_memory(runtime: Any) -> None:
    """Register the allocator of sessions that use the one of the process."""
    kinds = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    where = kinds.OrtMemoryInfo(
        "Cpu", kinds.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, kinds.OrtMemType.DEFAULT
    )
    limits = runtime.OrtArenaCfg({"max_mem": _MAX_BYTES, "arena_extend_strategy": 1})
    runtime.create_and_register_allocator(where, limits)


def chained(parts: Sequence[Any]) -> Any:
    """One `onnx.ModelProto` in which each part's last output is the next part's only input.

    The first part's input and the last part's output keep their names.
    """
    add_prefix = import_onnx().compose.add_prefix
    last = len(parts) - 1
    renamed = [  # prefixes make names of different parts differ
        _plain(add_prefix(part, f"{n}_", rename_inputs=n > 0, rename_outputs=n < last))
        for n, part in enumerate(parts)
    ]
    return reduce(_joined, renamed)


def _joined(first: Any, second: Any) -> Any:
    joint = first.graph.output[-1].name, second.graph.input[0].name
    outputs = [second.graph.output[-1].name]
    return _plain(import_onnx().compose.merge_models(first, second, [joint], outputs=outputs))


def _plain(model: Any) -> Any:
    """The model with one format version and each operator set declared once."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    make_opsetid = import_onnx().helper.make_opsetid
    del model.opset_import[:]
    model.opset_import.extend(make_opsetid(*entry) for entry in sorted(versions.items()))
    model.ir_version = IR_VERSION
    return model
