import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from marsbench.environment import install_hint
from marsbench.errors import ExportError
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.onnx import Graph, Value

X = np.array([[3.0, -1.0, 2.0], [0.5, 4.0, -2.5]], np.float32)
N_ROWS = "n_rows"


def computed(formula: Callable[[Value], Value], shape: list[int | str]) -> NDArray[Any]:
    """What a graph of that formula answers to `X`."""
    pytest.importorskip("onnx", reason="onnx, of the extra export, is not installed")
    runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    graph = Graph("formula")
    graph.output("y", formula(graph.input("x", np.float32, [N_ROWS, 3])), shape)
    return np.asarray(runtime.InferenceSession(graph.model().SerializeToString()).run(None, {"x": X})[0])


@pytest.mark.parametrize(
    ("formula", "wanted"),
    [
        (lambda x: (x + 1) * 2 - x / 4, (X + 1) * 2 - X / 4),
        (lambda x: -x.at_least(0).at_most(2.5), -np.clip(X, 0, 2.5)),
        (lambda x: (x > 0).where(x, 7), np.where(X > 0, X, 7)),
        (lambda x: ((x < 3) & (x >= 2)).cast(np.float32), (X < 3) & (X >= 2)),
        (lambda x: x - x.mean(1, keep=True), X - X.mean(axis=1, keepdims=True)),
        (lambda x: x.take([2, 0, 0], axis=1), X[:, [2, 0, 0]]),
        (lambda x: x.sorted(3, axis=1, largest=True), -np.sort(-X, axis=1)),
    ],
)
def test_arithmetic_is_what_it_looks_like(formula: Callable[[Value], Value], wanted: ArrayLike) -> None:
    np.testing.assert_array_equal(computed(formula, [N_ROWS, 3]), wanted)


@pytest.mark.parametrize(
    ("formula", "wanted"),
    [
        (lambda x: x.sum().reshape(1), [X.sum()]),
        (lambda x: x.max(0), X.max(axis=0)),
        (lambda x: x.part(x.size(0) - 1).reshape(-1), X[1]),
        (lambda x: x.part(1, 2, axis=1).transpose(1, 0).reshape(-1), X[:, 1]),
        (lambda x: (x @ np.ones((3, 1))).reshape(-1), X.sum(axis=1)),
        (lambda x: x.graph.range(x.size(1)), [0, 1, 2]),
        (lambda x: x.graph.vector(5, x.size(0)), [5, 2]),
    ],
)
def test_shapes_may_be_known_only_when_the_graph_runs(
    formula: Callable[[Value], Value], wanted: ArrayLike
) -> None:
    np.testing.assert_array_equal(computed(formula, ["n"]), wanted)


def test_a_missing_onnx_is_said_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=re.escape(install_hint("export"))):
        Graph("empty").model()


def test_an_extractor_has_no_graph_unless_it_makes_one() -> None:
    assert FeatureExtractor().onnx_graph() is None
