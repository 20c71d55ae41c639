"""A fitted model as an ONNX graph: features of one clip -> class probabilities."""

from typing import Any

import numpy as np

from marsbench.deployment.formats.keras import network_graph
from marsbench.deployment.formats.sklearn_onnx import estimator_graph
from marsbench.deployment.model_file import Predictor
from marsbench.errors import ExportError
from marsbench.plugin.features import FEATURES, FeatureKind
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.onnx import Graph, Value, chained
from marsbench.plugin.sklearn import SklearnModel

PROBABILITIES = "probabilities"


def classifier_graph(model: Predictor, kind: FeatureKind) -> Any:
    """`model.predict_proba` of one clip as an `onnx.ModelProto`.

    Its input `features` is what an extractor of that kind returns: float32 (n_frames, n_dims) of real frames
    or (n_dims,). Pooling, scaling and padding are part of the graph. Its output `probabilities` is float32
    (n_classes,). Frames beyond the number that a network was trained on are left out.

    Raises:
        ExportError: a model that is neither scikit-learn's nor Keras's, or that cannot be converted.
    """
    if isinstance(model, SklearnModel):
        return _of_sklearn(model, kind)
    if isinstance(model, KerasModel):
        return _of_keras(model, kind)
    raise ExportError(
        f"{type(model).__name__} is neither a SklearnModel nor a KerasModel: there is no ONNX graph of it"
    )


def _of_sklearn(model: SklearnModel, kind: FeatureKind) -> Any:
    """In double precision as far as the estimator's operators have it, as `predict_proba`."""
    if model.accepts == "frames":
        raise ExportError(f"{model.name} is a SklearnModel of frames: only one of vectors can be exported")
    estimator = estimator_graph(model.estimator_, model.name)
    before, features = _before(kind)
    values = _pooled(features, kind).cast(estimator.kind).reshape(1, -1)
    before.output("values", values, [1, "n_dims"])

    after = Graph("probabilities")
    answer = after.input("answer", estimator.answer_kind, [1, "n_columns"]).cast(np.float64)
    if model.temperature_ is not None:
        scores = answer.part(1, axis=1) * [[0, 1]] if len(model.estimator_.classes_) == 2 else answer
        answer = (scores / model.temperature_).apply("Softmax", axis=1)
    # A class without training clips has no column yet.
    columns = np.eye(model.n_classes_)[model.estimator_.classes_]
    _answer(after, _shares(answer) @ columns)
    return chained([before.model(), estimator.model, after.model()])


def _of_keras(model: KerasModel, kind: FeatureKind) -> Any:
    """Scaling, then padding with zeros to the length that the network was trained on."""
    network = model.network_
    before, features = _before(kind)
    pooled = _pooled(features, kind) if model.accepts == "vector" else features
    values = (pooled - model.scaling_.mean) / model.scaling_.deviation
    if len(network.input_shape) == 3:
        values = _padded(values, network.input_shape[1])
    before.output("values", values.reshape(1, *network.input_shape[1:]), [1, *network.input_shape[1:]])

    after = Graph("probabilities")
    answer = after.input("answer", np.float32, [1, network.output_shape[-1]])
    _answer(after, _shares(answer.cast(np.float64)))
    return chained([before.model(), network_graph(network, model.name), after.model()])


def _before(kind: FeatureKind) -> tuple[Graph, Value]:
    graph = Graph("classifier")
    shape = ["n_frames", "n_dims"] if kind == "frames" else ["n_dims"]
    return graph, graph.input(FEATURES, np.float32, shape)


def _answer(graph: Graph, probabilities: Value) -> None:
    graph.output(PROBABILITIES, probabilities.cast(np.float32).reshape(-1), ["n_classes"])


def _pooled(features: Value, kind: FeatureKind) -> Value:
    """As `Features.pooled`."""
    return features.cast(np.float64).mean(0).cast(np.float32) if kind == "frames" else features


def _padded(frames: Value, n_frames: int) -> Value:
    """As `features.pad`; a clip with more frames than any that the network was trained on is cut."""
    kept = frames.part(0, n_frames)
    graph = frames.graph
    missing = graph.vector(0, 0, kept.size(0) * -1 + n_frames, 0)
    return graph.node("Pad", kept, missing, kind=frames.kind)


def _shares(answer: Value) -> Value:
    return answer / answer.sum(1, keep=True)
