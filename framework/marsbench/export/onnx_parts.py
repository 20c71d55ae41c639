"""Putting ONNX graphs behind each other."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from marsbench.plugin.onnx_builder import IR_VERSION, import_onnx


def chained(parts: Sequence[Any]) -> Any:
    """One `onnx.ModelProto` that gives each part's last output to the next one's only input.

    The first part's input and the last part's output keep their names.
    """
    renamed = [
        _prefixed(part, f"{number}_", is_first=number == 0, is_last=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]
    return reduce(_joined, renamed)


def _joined(first: Any, second: Any) -> Any:
    onnx = import_onnx()
    joint = first.graph.output[-1].name, second.graph.input[0].name
    whole = onnx.compose.merge_models(first, second, [joint], outputs=[second.graph.output[-1].name])
    return _plain(whole)


def _prefixed(part: Any, prefix: str, *, is_first: bool, is_last: bool) -> Any:
    """A copy in which no name can meet one of another part."""
    add_prefix = import_onnx().compose.add_prefix
    return _plain(add_prefix(part, prefix, rename_inputs=not is_first, rename_outputs=not is_last))


def _plain(model: Any) -> Any:
    """One version of the format for all, each set of operators named once, nobody's advertisement."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    make_opsetid = import_onnx().helper.make_opsetid
    del model.opset_import[:]
    model.opset_import.extend(make_opsetid(*entry) for entry in sorted(versions.items()))
    model.ir_version = IR_VERSION
    return model
