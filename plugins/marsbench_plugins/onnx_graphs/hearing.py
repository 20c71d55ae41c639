"""What `framing` does before and after the spectrum: the stretch that is heard, and normalisation."""

from collections.abc import Callable
from typing import Any

import numpy as np

from marsbench.plugin.features import FEATURES, WAVEFORM
from marsbench.plugin.onnx_builder import LARGEST, Graph, Value
from marsbench_plugins.framing import FLAT, FrameExtractor, Normalisation, SpectralExtractor
from marsbench_plugins.onnx_graphs.spectrum import SpectrumGraph


def frames_model(extractor: FrameExtractor) -> Any:
    """The extractor's graph."""
    graph = Graph(extractor.name)
    waveform = graph.input(WAVEFORM, np.float32, ["n_samples"])
    frames = extractor.describe_graph(heard(waveform, extractor)).part(0, extractor.n_frames or LARGEST)
    graph.output(FEATURES, normalised(frames, extractor.normalisation), ["n_frames", "n_dims"])
    return graph.model()


def vector_model(extractor: SpectralExtractor, describe: Callable[[SpectrumGraph], Value]) -> Any:
    """The extractor's graph; `describe` gives its (n_dims,) values."""
    graph = Graph(extractor.name)
    waveform = graph.input(WAVEFORM, np.float32, ["n_samples"])
    graph.output(FEATURES, describe(heard(waveform, extractor)), ["n_dims"])
    return graph.model()


def heard(waveform: Value, extractor: SpectralExtractor) -> SpectrumGraph:
    """Spectrum of the stretch that the extractor hears."""
    rate = extractor.sample_rate
    latest = (waveform.size(0) - extractor.n_fft).at_least(0)
    start = latest.at_most(round(extractor.offset * rate))
    end = LARGEST if extractor.duration is None else start + round(extractor.duration * rate)
    samples = _rounded(waveform.part(start, end), extractor.bits)
    return SpectrumGraph(samples, rate, extractor.n_fft, extractor.hop_length)


def normalised(frames: Value, normalisation: Normalisation) -> Value:
    """Frames less their mean, over their standard deviation; what does not vary becomes 0."""
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
