"""A fitted model as an ONNX graph, from one clip's features to class probabilities: `emotion_NAME.onnx`.

Input: float32 (n_frames, n_dims) of any number of frames, none of them padding; or (n_dims,) for vectors.
Pooling, scaling and padding are part of the graph. `end_to_end` puts the extractor's own graph in front.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, cast
from unittest.mock import patch

import numpy as np

from marsbench.deployment.estimator_graph import estimator_graph, number_type
from marsbench.deployment.formats.keras import input_signature, silence
from marsbench.deployment.model_format import FileModel, ModelFormat, Predictor, feature_kind
from marsbench.environment import import_extra
from marsbench.errors import ExportError, first_line
from marsbench.plugin.base import Plugin
from marsbench.plugin.features import (
    FEATURES,
    WAVEFORM,
    FeatureExtractor,
    FeatureKind,
    Features,
    Floats,
    for_model,
)
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Model, Probabilities
from marsbench.plugin.onnx import (
    OPSET,
    PROBABILITIES,
    Graph,
    Value,
    chained,
    import_onnx,
    onnx_session,
    run_bounded,
)
from marsbench.plugin.registry import Entry
from marsbench.plugin.sklearn import LEAST_PROBABILITY, SklearnModel

TOLERANCE = 1e-3
"""Largest difference between a probability of a pipeline's file and of the pipeline."""
_INTEGER_OPERATORS = {"ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger"}


class OnnxFormat(ModelFormat):
    """One clip at a time, by onnxruntime on one core."""

    suffix = ".onnx"
    models = (SklearnModel, KerasModel)
    packages = MappingProxyType({"onnx": "export", "onnxruntime": "export"})
    precisions = MappingProxyType({"int8": 1e-2})
    any_length = True

    def has(self, plugin: type[Plugin]) -> bool:
        """Also those of a plugin that writes its own graph."""
        return super().has(plugin) or (
            issubclass(plugin, Model) and plugin.onnx_graph is not Model.onnx_graph
        )

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
        session = onnx_session(path.read_bytes(), "export", is_trusted=False)
        given = session.get_inputs()[0]

        def run(features: Features) -> Floats:
            is_vector = features.kind == "vector"
            clips = zip(features.values, features.lengths, strict=True)
            inputs = (values if is_vector else values[:length] for values, length in clips)
            return np.stack([run_bounded(session, {given.name: clip})[0] for clip in inputs])

        return FileModel(feature_kind(given.shape), run)


def classifier_graph(model: Predictor, kind: FeatureKind) -> Any:
    """`model.predict_proba` of one clip as an `onnx.ModelProto`.

    Its input `features` is what an extractor of that kind returns: float32 (n_frames, n_dims) without
    padding, or (n_dims,). Its output `probabilities` is float32 (n_classes,). Frames beyond the number that a
    network was trained on are cut off.

    Raises:
        ExportError: the model is neither a SklearnModel nor a KerasModel and has no `onnx_graph`, or it
            cannot be converted.
    """
    if (own := model.onnx_graph() if isinstance(model, Model) else None) is not None:
        return _own_graph(own, model, kind)
    if isinstance(model, SklearnModel):
        return _sklearn_graph(model, kind)
    if isinstance(model, KerasModel):
        return _keras_graph(model, kind)
    raise ExportError(
        f"{type(model).__name__} is neither a SklearnModel nor a KerasModel, and its plugin does not define "
        "onnx_graph: it has no ONNX graph"
    )


def _own_graph(own: Any, model: Predictor, kind: FeatureKind) -> Any:
    """The graph that a plugin wrote; of frames it gets their mean if it accepts vectors."""
    _require_ends(own, type(model).__name__, FEATURES, PROBABILITIES)
    if model.accepts == kind:
        return own
    before, features = _new_graph(kind)
    before.output("values", _pooled(features, kind), ["n_dims"])
    return chained([before.model(), own])


def _sklearn_graph(model: SklearnModel, kind: FeatureKind) -> Any:
    """In double precision where the estimator's operators have it, as `predict_proba`."""
    if model.accepts == "frames":
        raise ExportError(f"{model.name} is a SklearnModel of frames; only those of vectors can be converted")
    estimator = estimator_graph(model.estimator_, model.name)
    before, features = _new_graph(kind)
    values = _pooled(features, kind).cast(number_type(estimator.graph.input[0])).reshape(1, -1)
    before.output("values", values, [1, "n_dims"])

    after = Graph("probabilities")
    answer = after.input("answer", number_type(estimator.graph.output[-1]), [1, "n_columns"]).cast(np.float64)
    if model.temperature_ is not None:
        scores = _scores(answer, model.estimator_)
        answer = (scores / model.temperature_).apply("Softmax", axis=1)
    # A class without training clips has no column yet.
    columns = np.eye(model.n_classes_)[model.estimator_.classes_]
    _add_output(after, answer / answer.sum(1, keep=True) @ columns)
    return chained([before.model(), estimator, after.model()])


def _scores(answer: Value, estimator: Any) -> Value:
    """What `SklearnModel` calibrates: logarithms of probabilities, or else decision values."""
    if hasattr(estimator, "predict_proba"):
        return (answer / answer.sum(1, keep=True)).at_least(LEAST_PROBABILITY).apply("Log")
    return answer.part(1, axis=1) * [[0, 1]] if len(estimator.classes_) == 2 else answer


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
    answer = after.input("answer", np.float32, [1, network.output_shape[-1]]).cast(np.float64)
    _add_output(after, answer / answer.sum(1, keep=True))
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


def _network_graph(network: Any, name: str) -> Any:
    """From scaled features of one clip, float32 (1, *input_shape), to outputs (1, n_classes)."""
    onnx = import_onnx()
    signature = input_signature(network)
    with TemporaryDirectory() as folder, silence():
        optimizer = import_extra("tf2onnx.optimizer", "export")
        # Version 1.17 leaves wrong shapes behind where it moves transposes: a layer normalisation of a single
        # step became something else. onnxruntime moves them by itself.
        kept = {n: made for n, made in optimizer._get_optimizers().items() if n != "optimize_transpose"}  # noqa: SLF001 - there is no option
        network(np.zeros(signature[0].shape, np.float32))  # Keras exports only what was called
        path = Path(folder) / "network.onnx"
        try:
            with patch.object(optimizer, "_get_optimizers", lambda: kept):
                network.export(
                    path, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET
                )
        except Exception as error:
            raise ExportError(f"{name} cannot be converted by tf2onnx: {first_line(error)}") from error
        return onnx.load(path)


def end_to_end(
    extractor: FeatureExtractor,
    model: Predictor,
    labels: Sequence[str],
    clips: Sequence[Floats] = (),
    facts: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """The pipeline as an `onnx.ModelProto`, which needs only numpy and onnxruntime to run.

    Its input `waveform` is float32 (n_samples,), mono, at least 0.1 s, at the rate of its metadata
    `sample_rate`. Its output `probabilities` is float32 (n_classes,), in the order of its metadata `labels`,
    a JSON list. Its metadata `marsbench` is the version that wrote it; `facts` are further metadata.

    File and pipeline are compared on `clips`, float32 (n_samples,) each, and on a synthetic one.

    Raises:
        ExportError: the extractor has no graph, the model cannot be converted, or the file gives other
            probabilities than the pipeline.
    """
    onnx = import_onnx()
    whole = chained([_extractor_graph(extractor), classifier_graph(model, extractor.kind)])
    whole.graph.name = f"{extractor.name} + {getattr(model, 'name', 'model')}"
    whole.graph.doc_string = ""  # the converters write a number that differs from export to export
    whole.producer_name, whole.producer_version = "marsbench", version("marsbench")
    own = {
        "labels": json.dumps(list(labels)),
        "sample_rate": str(extractor.sample_rate),
        "marsbench": version("marsbench"),
    }
    onnx.helper.set_model_props(whole, dict(facts) | own)
    onnx.checker.check_model(whole, full_check=True)
    _compare(whole, extractor, model, [_synthetic_clip(extractor.sample_rate), *clips])
    return whole


def pipeline_probabilities(extractor: FeatureExtractor, model: Predictor, clip: Floats) -> Probabilities:
    """Probabilities by the pipeline itself for one clip's samples, float64 (n_classes,)."""
    values = extractor.checked_extract(clip, extractor.sample_rate)
    network = getattr(model, "network_", None)
    n_frames = network.input_shape[1] if network is not None else None
    return np.asarray(model.predict_proba(for_model([values], model.accepts, n_frames))[0])


def require_graph(features: Entry) -> None:
    """Refuse an extractor that has no graph, before anything is fitted; raises ExportError."""
    if cast("type[FeatureExtractor]", features.plugin).onnx_graph is FeatureExtractor.onnx_graph:
        raise ExportError(
            f"{features.name} has no ONNX graph: its plugin does not define onnx_graph. "
            "Leave --end-to-end out to export the model alone."
        )


def _extractor_graph(extractor: FeatureExtractor) -> Any:
    graph = extractor.onnx_graph()
    if graph is None:
        raise ExportError(f"{extractor.name} has no ONNX graph: its onnx_graph returns None")
    _require_ends(graph, extractor.name, WAVEFORM, FEATURES)
    return graph


def _require_ends(graph: Any, name: str, *wanted: str) -> None:
    found = [[end.name for end in ends] for ends in (graph.graph.input, graph.graph.output)]
    if found != [[name] for name in wanted]:
        raise ExportError(
            f"{name}: its ONNX graph has inputs and outputs {found}; {' and '.join(wanted)} are needed"
        )


def _compare(whole: Any, extractor: FeatureExtractor, model: Predictor, clips: Sequence[Floats]) -> None:
    session = onnx_session(whole.SerializeToString(), "export")
    for clip in clips:
        expected = pipeline_probabilities(extractor, model, clip)
        difference = abs(session.run([PROBABILITIES], {WAVEFORM: clip})[0] - expected).max()
        if not difference <= TOLERANCE:  # NaN is no agreement
            raise ExportError(
                f"{whole.graph.name}: the exported file gives other probabilities than the pipeline; they "
                f"differ by {difference:.3g}"
            )


def _synthetic_clip(sample_rate: int) -> Floats:
    """Three seconds of harmonics of a gliding pitch in noise, float32 (n_samples,)."""
    time = np.arange(3 * sample_rate) / sample_rate
    phase = 2 * np.pi * (150 * time + 20 * np.sin(2 * np.pi * time))
    tone = sum(np.sin(k * phase) / k for k in range(1, 10))
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    return np.asarray(0.1 * (tone + noise), np.float32)
