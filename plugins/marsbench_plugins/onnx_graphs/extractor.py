"""ONNX graphs of `framing`: a whole extractor, the excerpt that it uses, and normalisation."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from marsbench.plugin.features import FEATURES, WAVEFORM
from marsbench.plugin.onnx import LARGEST, Graph, Value
from marsbench_plugins.framing import FLAT, Normalisation
from marsbench_plugins.onnx_graphs.spectrum import SpectrumGraph


class VectorParameters(Protocol):
    """Parameters of a `framing.SpectralExtractor` that its graph depends on."""

    sample_rate: int
    n_fft: int
    hop_length: int
    offset: float
    duration: float | None
    bits: int | None

    @property
    def name(self) -> str:
        """Name of the extractor."""


class FrameParameters(VectorParameters, Protocol):
    """Parameters of a `framing.FrameExtractor` that its graph depends on."""

    n_frames: int | None
    normalisation: Normalisation


def frames_model(extractor: FrameParameters, describe: Callable[[SpectrumGraph], Value]) -> Any:
    """`onnx.ModelProto` of an extractor; `describe` returns its frames (n_frames, n_dims), not normalised."""
    graph = Graph(extractor.name)
    waveform = graph.input(WAVEFORM, np.float32, ["n_samples"])
    frames = describe(excerpt_spectrum(waveform, extractor)).part(0, extractor.n_frames or LARGEST)
    graph.output(FEATURES, normalised(frames, extractor.normalisation), ["n_frames", "n_dims"])
    return graph.model()


def vector_model(extractor: VectorParameters, describe: Callable[[SpectrumGraph], Value]) -> Any:
    """`onnx.ModelProto` of an extractor; `describe` returns its vector (n_dims,)."""
    graph = Graph(extractor.name)
    waveform = graph.input(WAVEFORM, np.float32, ["n_samples"])
    graph.output(FEATURES, describe(excerpt_spectrum(waveform, extractor)), ["n_dims"])
    return graph.model()


def excerpt_spectrum(waveform: Value, extractor: VectorParameters) -> SpectrumGraph:
    """Spectrum of the excerpt, as `SpectralExtractor.spectrum`."""
    rate = extractor.sample_rate
    latest = (waveform.size(0) - extractor.n_fft).at_least(0)
    start = latest.at_most(round(extractor.offset * rate))
    end = LARGEST if extractor.duration is None else start + round(extractor.duration * rate)
    samples = _rounded(waveform.part(start, end), extractor.bits)
    return SpectrumGraph(samples, rate, extractor.n_fft, extractor.hop_length)


def normalised(frames: Value, normalisation: Normalisation) -> Value:
    """As `framing.normalised`."""
    if normalisation == "none":
        return frames
    axis = 0 if normalisation == "dimension" else None
    doubles = frames.cast(np.float64)
    away = doubles - doubles.mean(axis)
    deviation = (away * away).mean(axis).apply("Sqrt")
    return (away / (deviation < FLAT).where(deviation.like(np.inf), deviation)).cast(np.float32)


def _rounded(samples: Value, bits: int | None) -> Value:
    if bits is None:
        return samples
    steps = 1 << bits - 1
    return (samples * steps).apply("Round") / steps
