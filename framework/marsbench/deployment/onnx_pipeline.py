"""A whole pipeline as one ONNX file, from waveform to class probabilities."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from marsbench.atomic_files import write_atomically
from marsbench.data.audio import resample
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import Sample
from marsbench.deployment.formats.onnx import PROBABILITIES, classifier_graph
from marsbench.deployment.model_format import Predictor
from marsbench.errors import ExportError
from marsbench.plugin.features import FEATURES, WAVEFORM, FeatureExtractor, Floats, for_model
from marsbench.plugin.model import Probabilities
from marsbench.plugin.onnx import chained, import_onnx, onnx_session
from marsbench.plugin.registry import Entry

TOLERANCE = 1e-3
"""Largest difference between a probability of the file and of the pipeline."""


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
    a JSON list. Its metadata `marsbench` is the version that wrote it.

    Args:
        extractor: with a graph of its own.
        model: fitted on features of `extractor`.
        labels: classes, in order.
        clips: waveforms, float32 (n_samples,), on which the file is compared with the pipeline, beside a
            synthetic one.
        facts: further metadata.

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
    names = [[end.name for end in ends] for ends in (graph.graph.input, graph.graph.output)]
    if names != [[WAVEFORM], [FEATURES]]:
        raise ExportError(
            f"{extractor.name}: its ONNX graph has inputs and outputs {names}; {WAVEFORM} and {FEATURES} are "
            "needed"
        )
    return graph


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


def write_pipeline(bundle: Bundle, path: Path, samples: Iterable[Sample]) -> None:
    """Write a bundle's pipeline as one ONNX file, see `end_to_end`.

    Raises:
        ExportError: it cannot be converted, or gives other probabilities to `samples` than the bundle.
        StorageError: it cannot be written.
    """
    record = bundle.record
    clips = [resample(sample.waveform, record.sample_rate).samples for sample in samples]
    facts = {"corpus": record.corpus.name, "licence": record.corpus.licence}
    if record.origin is not None:
        facts["run"] = record.origin.run_id
    data = end_to_end(bundle.extractor, bundle.model, bundle.labels, clips, facts).SerializeToString()
    write_atomically(path, lambda file: file.write(data))
