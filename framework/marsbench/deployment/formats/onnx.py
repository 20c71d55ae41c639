"""A fitted model as an ONNX graph, from one clip's features to class probabilities: `emotion_NAME.onnx`.

Input: float32 (n_frames, n_dims) of any number of frames, none of them padding; or (n_dims,) for vectors.
Pooling, scaling and padding are part of the graph.
"""

import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from marsbench.deployment.formats.keras import input_signature, silence
from marsbench.deployment.model_format import FileModel, ModelFormat, Predictor, feature_kind, first_line
from marsbench.environment import import_extra
from marsbench.errors import ExportError
from marsbench.plugin.features import FEATURES, FeatureKind, Features, Floats
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Model
from marsbench.plugin.onnx import OPSET, Graph, Value, chained, import_onnx, onnx_session
from marsbench.plugin.sklearn import SklearnModel

PROBABILITIES = "probabilities"
_ML_DOMAIN, _ML_OPSET = "ai.onnx.ml", 3
_INTEGER_OPERATORS = {"ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger"}
_GRAPH_TOLERANCE = 1e-3
"""Largest absolute and relative difference of an estimator's graph on probes."""
_N_PROBES = 32
_LONGEST_REASON = 120
"""Characters; some messages of skl2onnx name every number of the model."""


class OnnxFormat(ModelFormat):
    """One clip at a time, by onnxruntime on one core."""

    suffix = ".onnx"
    models = (SklearnModel, KerasModel)
    packages = MappingProxyType({"onnx": "export", "onnxruntime": "export"})
    precisions = MappingProxyType({"int8": 1e-2})
    any_length = True

    def write(self, path: Path, model: Model, kind: FeatureKind, quantised: str | None) -> None:
        """Convert the model; raises ExportError: it cannot be converted, or has nothing to quantise."""
        graph = classifier_graph(model, kind)
        if not quantised:
            path.write_bytes(graph.SerializeToString())
            return
        quantization = import_extra("onnxruntime.quantization", "export")
        with silence():  # weights of 8 bits; activations are quantised while it runs
            quantization.quantize_dynamic(graph, path, weight_type=quantization.QuantType.QInt8)
        if not _INTEGER_OPERATORS & {node.op_type for node in import_onnx().load(path).graph.node}:
            raise ExportError(f"{model.name} has no layer that can be quantised; leave --quantise out")

    def read(self, path: Path, plugin: Callable[[], Model]) -> Predictor:
        """Open a session; external data files that the graph names are not read."""
        session = onnx_session(path.read_bytes(), "export")
        (given,), (asked,) = session.get_inputs(), session.get_outputs()

        def run(features: Features) -> Floats:
            is_vector = features.kind == "vector"
            clips = zip(features.values, features.lengths, strict=True)
            inputs = (values if is_vector else values[:length] for values, length in clips)
            return np.stack([session.run([asked.name], {given.name: clip})[0] for clip in inputs])

        return FileModel(feature_kind(given.shape), run)


def classifier_graph(model: Predictor, kind: FeatureKind) -> Any:
    """`model.predict_proba` of one clip as an `onnx.ModelProto`.

    Its input `features` is what an extractor of that kind returns: float32 (n_frames, n_dims) without
    padding, or (n_dims,). Its output `probabilities` is float32 (n_classes,). Frames beyond the number that a
    network was trained on are cut off.

    Raises:
        ExportError: the model is neither a SklearnModel nor a KerasModel, or it cannot be converted.
    """
    if isinstance(model, SklearnModel):
        return _sklearn_graph(model, kind)
    if isinstance(model, KerasModel):
        return _keras_graph(model, kind)
    raise ExportError(
        f"{type(model).__name__} is neither a SklearnModel nor a KerasModel; only these have an ONNX graph"
    )


def _sklearn_graph(model: SklearnModel, kind: FeatureKind) -> Any:
    """In double precision where the estimator's operators have it, as `predict_proba`."""
    if model.accepts == "frames":
        raise ExportError(f"{model.name} is a SklearnModel of frames; only those of vectors can be converted")
    estimator = _estimator_graph(model.estimator_, model.name)
    before, features = _new_graph(kind)
    values = _pooled(features, kind).cast(estimator.input_type).reshape(1, -1)
    before.output("values", values, [1, "n_dims"])

    after = Graph("probabilities")
    answer = after.input("answer", estimator.output_type, [1, "n_columns"]).cast(np.float64)
    if model.temperature_ is not None:
        scores = answer.part(1, axis=1) * [[0, 1]] if len(model.estimator_.classes_) == 2 else answer
        answer = (scores / model.temperature_).apply("Softmax", axis=1)
    # A class without training clips has no column yet.
    columns = np.eye(model.n_classes_)[model.estimator_.classes_]
    _add_output(after, _normalised(answer) @ columns)
    return chained([before.model(), estimator.model, after.model()])


def _keras_graph(model: KerasModel, kind: FeatureKind) -> Any:
    """Scaling, then padding with zeros to the length that the network was trained on."""
    network = model.network_
    before, features = _new_graph(kind)
    pooled = _pooled(features, kind) if model.accepts == "vector" else features
    values = (pooled - model.scaling_.mean) / model.scaling_.deviation
    if len(network.input_shape) == 3:
        values = _padded(values, network.input_shape[1])
    before.output("values", values.reshape(1, *network.input_shape[1:]), [1, *network.input_shape[1:]])

    after = Graph("probabilities")
    answer = after.input("answer", np.float32, [1, network.output_shape[-1]])
    _add_output(after, _normalised(answer.cast(np.float64)))
    return chained([before.model(), _network_graph(network, model.name), after.model()])


def _new_graph(kind: FeatureKind) -> tuple[Graph, Value]:
    """A graph and its input, one clip's features."""
    graph = Graph("classifier")
    shape = ["n_frames", "n_dims"] if kind == "frames" else ["n_dims"]
    return graph, graph.input(FEATURES, np.float32, shape)


def _add_output(graph: Graph, probabilities: Value) -> None:
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


def _normalised(answer: Value) -> Value:
    return answer / answer.sum(1, keep=True)


def _network_graph(network: Any, name: str) -> Any:
    """From scaled features of one clip, float32 (1, *input_shape), to outputs (1, n_classes)."""
    onnx = import_onnx()
    signature = input_signature(network)
    with TemporaryDirectory() as folder, silence():
        import_extra("tf2onnx", "export")
        network(np.zeros(signature[0].shape, np.float32))  # Keras exports only what was called
        path = Path(folder) / "network.onnx"
        try:
            network.export(path, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET)
        except Exception as error:
            raise ExportError(f"{name} cannot be converted by tf2onnx: {first_line(error)}") from error
        return onnx.load(path)


class _EstimatorGraph(NamedTuple):
    """A classifier's graph: input (1, n_dims), last output a row of decision values or probabilities."""

    model: Any
    """An `onnx.ModelProto`."""
    input_type: DTypeLike
    output_type: DTypeLike


def _estimator_graph(estimator: Any, name: str) -> _EstimatorGraph:
    """Graph of the probabilities, or else decision values, of a fitted scikit-learn classifier.

    Some graphs of skl2onnx are wrong (version 1.20: two classes of a CalibratedClassifierCV), others cannot
    run in double precision. The first that gives what the estimator gives on made-up values is taken.

    Raises:
        ExportError: there is none.
    """
    from sklearn.dummy import DummyClassifier

    if isinstance(estimator, DummyClassifier) and estimator.strategy == "prior":
        return _prior_graph(estimator)
    import_onnx()
    estimator = _with_regression(estimator)
    problem = ""
    for input_type, is_mapped in product((np.float64, np.float32), (True, False)):
        try:
            graph = _converted(estimator, input_type, is_mapped=is_mapped)
            if _is_right(graph, estimator):
                return graph
            problem = problem or "the graph gives other values than the estimator"
        except ExportError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever skl2onnx and onnxruntime raise for a model
            problem = problem or first_line(error)
    what = type(_last(estimator)).__name__
    reason = f": {problem}" if len(problem) <= _LONGEST_REASON else ""
    raise ExportError(f"{name}: skl2onnx cannot convert a {what}{reason}")


def _converted(estimator: Any, input_type: DTypeLike, *, is_mapped: bool) -> _EstimatorGraph:
    kinds = import_extra("skl2onnx.common.data_types", "export")
    tensor = kinds.DoubleTensorType if input_type is np.float64 else kinds.FloatTensorType
    options = {} if hasattr(estimator, "predict_proba") else {"raw_scores": True}
    if is_mapped:  # an array instead of a dictionary; refused by estimators that would give an array anyway
        options["zipmap"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it touches everything that scikit-learn deprecates
        model = import_extra("skl2onnx", "export").to_onnx(
            estimator,
            initial_types=[("values", tensor([None, estimator.n_features_in_]))],
            options={id(_last(estimator)): options},  # those of a pipeline are not passed on to its last step
            target_opset={"": OPSET, _ML_DOMAIN: _ML_OPSET},
        )
    output_type = import_onnx().helper.tensor_dtype_to_np_dtype(
        model.graph.output[-1].type.tensor_type.elem_type
    )
    return _EstimatorGraph(model, input_type, output_type)


def _is_right(graph: _EstimatorGraph, estimator: Any) -> bool:
    """Whether the graph gives what the estimator gives on made-up values."""
    values = _probes(estimator).astype(graph.input_type)
    session = onnx_session(graph.model.SerializeToString(), "export")
    found = session.run(None, {"values": values})[-1]
    predict = getattr(estimator, "predict_proba", None) or estimator.decision_function
    expected = predict(values.astype(np.float64))
    found = found[:, -1] if expected.ndim == 1 else found
    if found.shape != expected.shape:
        return False
    return bool(np.allclose(found, expected, _GRAPH_TOLERANCE, _GRAPH_TOLERANCE))


def _with_regression(estimator: Any) -> Any:
    """A LinearDiscriminantAnalysis of two classes as the equal LogisticRegression.

    skl2onnx 1.20 converts the former wrongly.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    last = _last(estimator)
    if not isinstance(last, LinearDiscriminantAnalysis) or len(last.classes_) != 2:
        return estimator
    regression = LogisticRegression()
    for name in ("classes_", "coef_", "intercept_", "n_features_in_"):
        setattr(regression, name, getattr(last, name))
    return make_pipeline(*estimator[:-1], regression) if last is not estimator else regression


def _probes(estimator: Any) -> NDArray[np.float64]:
    """Made-up features, (n, n_dims), in the range that the pipeline's scaler was fitted on, if it has one."""
    values = np.random.default_rng(0).normal(size=(_N_PROBES, estimator.n_features_in_))
    scaler = estimator[0] if hasattr(estimator, "steps") else estimator
    scaled = scaler.inverse_transform(values) if hasattr(scaler, "inverse_transform") else values
    return np.asarray(scaled, np.float32).astype(np.float64)


def _prior_graph(estimator: Any) -> _EstimatorGraph:
    """Graph of a DummyClassifier: class frequencies of the training clips, whatever the features are."""
    graph = Graph("frequencies")
    values = graph.input("values", np.float64, [1, "n_dims"])
    nothing = values.part(0, 0, axis=1).sum(1, keep=True)
    graph.output("answer", nothing + estimator.class_prior_[None], [1, "n_classes"])
    return _EstimatorGraph(graph.model(), np.float64, np.float64)


def _last(estimator: Any) -> Any:
    return estimator[-1] if hasattr(estimator, "steps") else estimator
