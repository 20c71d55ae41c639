"""Extractors of one encoder ask it once within a prediction."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.data.audio import Waveform
from marsbench.deployment.bundle import EnsembleBundle
from marsbench.plugin.onnx import Graph, onnx_session
from marsbench.plugin.onnx_sharing import shared_runs

pytest.importorskip("onnx", reason="onnx, of the extra export, is not installed")
runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

X, OTHER = np.array([1.0, 2.0], np.float32), np.array([5.0, 7.0], np.float32)


def encoder(*layers: str, weight: float = 1.0) -> bytes:
    """A graph of two layers, of which some are outputs; it is the same but for them."""
    graph = Graph("encoder")
    first = graph.input("x", np.float32, [2]) + weight
    for name, value in {"one": first, "two": first * 10}.items():
        graph.output(name, value, [2])
    model = graph.model()
    kept = [entry for entry in model.graph.output if entry.name in layers]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return bytes(model.SerializeToString())


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The outputs that each run of onnxruntime computed."""
    runs: list[tuple[str, ...]] = []

    class Counted(runtime.InferenceSession):  # type: ignore[misc]  # mypy sees no types of onnxruntime's
        def run(self, names: Any, *rest: Any) -> Any:
            runs.append(tuple(names))
            return super().run(names, *rest)

    monkeypatch.setattr(runtime, "InferenceSession", Counted)
    return runs


def answers(data: bytes, x: NDArray[np.float32], names: list[str] | None = None) -> list[list[float]]:
    return [array.tolist() for array in onnx_session(data, "encoder").run(names, {"x": x})]


@pytest.mark.parametrize(
    ("asked", "n_runs"),
    [
        ([(["one"], X), (["one"], X)], 1),
        ([(["one", "two"], X), (["two"], X)], 1),
        ([(["one"], X), (["one"], OTHER)], 2),
    ],
    ids=["equal layers", "layers that another has too", "another input"],
)
def test_sessions_of_one_graph_run_once_an_input(
    asked: list[tuple[list[str], NDArray[np.float32]]], n_runs: int, ran: list[tuple[str, ...]]
) -> None:
    alone = [answers(encoder(*layers), x, layers) for layers, x in asked]
    ran.clear()
    with shared_runs():
        sessions = [onnx_session(encoder(*layers), "encoder") for layers, _ in asked]
        shared = [
            [array.tolist() for array in session.run(layers, {"x": x})]
            for session, (layers, x) in zip(sessions, asked, strict=True)
        ]
    assert shared == alone
    assert len(ran) == n_runs


def test_a_session_computes_what_others_want_from_then_on(ran: list[tuple[str, ...]]) -> None:
    with shared_runs():
        one, two = (onnx_session(encoder(layer), "encoder") for layer in ("one", "two"))
        assert one.run(None, {"x": X})[0].tolist() == [2, 3]
        assert two.run(["two"], {"x": X})[0].tolist() == [20, 30]
    assert [set(names) for names in ran] == [{"one", "two"}]


def test_graphs_of_other_weights_share_nothing() -> None:
    with shared_runs():
        assert answers(encoder("one"), X) == [[2, 3]]
        assert answers(encoder("one", weight=2.0), X) == [[3, 4]]


def test_nothing_is_remembered_after_a_prediction(ran: list[tuple[str, ...]]) -> None:
    with shared_runs():
        session = onnx_session(encoder("one"), "encoder")
        session.run(["one"], {"x": X})
    for _ in range(2):
        with shared_runs():
            session.run(["one"], {"x": X})
    assert session.run(None, {"x": OTHER})[0].tolist() == [6, 8]
    assert len(ran) == 4


class Member:
    """A member of an ensemble whose extractor takes one layer of the encoder."""

    def __init__(self, layer: str) -> None:
        self.layer, self.record = layer, SimpleNamespace(features=SimpleNamespace(key=layer))
        self.averaged: dict[str, str] = {}

    def extracted(self, recorded: Waveform, spans: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
        session = None
        for start, end in spans:
            session = session or onnx_session(encoder(self.layer), "encoder")
            yield {self.layer: session.run([self.layer], {"x": recorded.samples[start:end]})[0]}


def test_an_ensembles_members_of_one_encoder_ask_it_once_a_window(ran: list[tuple[str, ...]]) -> None:
    members: Any = (Member("one"), Member("two"), Member("one"))
    ensemble = EnsembleBundle(record=None, members=members, folders=())  # type: ignore[arg-type]
    first, second = ensemble.extract(Waveform(np.concatenate([X, OTHER]), 2), [(0, 2), (2, 4)])
    assert {key: array.tolist() for key, array in first.items()} == {"one": [2, 3], "two": [20, 30]}
    assert {key: array.tolist() for key, array in second.items()} == {"one": [6, 8], "two": [60, 80]}
    # Which layers are wanted is known once the second member has asked.
    assert [set(names) for names in ran] == [{"one"}, {"one", "two"}, {"one", "two"}]
