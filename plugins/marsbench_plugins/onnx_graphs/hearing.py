"""What `framing` does before and after the spectrum: the stretch that is heard, and normalisation."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from marsbench.plugin.features import FEATURES, WAVEFORM
from marsbench.plugin.onnx import LARGEST, Graph, Value
from marsbench_plugins.normalisation import FLAT, Normalisation
from marsbench_plugins.onnx_graphs.spectrum import SpectrumGraph


class Hearing(Protocol):
    """What a graph reads of a `framing.SpectralExtractor`."""

    sample_rate: int
    n_fft: int
    hop_length: int
    offset: float
    duration: float | None
    bits: int | None

    @property
    def name(self) -> str:
        """Of the extractor."""


class FramesHearing(Hearing, Protocol):
    """What a graph reads of a `framing.FrameExtractor`."""

    n_frames: int | None
    normalisation: Normalisation


def frames_model(extractor: FramesHearing, describe: Callable[[SpectrumGraph], Value]) -> Any:
    """An extractor's graph; `describe` gives its (any number of frames, n_dims) before normalisation."""
    graph = Graph(extractor.name)
    waveform = graph.input(WAVEFORM, np.float32, ["n_samples"])
    frames = describe(heard(waveform, extractor)).part(0, extractor.n_frames or LARGEST)
    graph.output(FEATURES, normalised(frames, extractor.normalisation), ["n_frames", "n_dims"])
    return graph.model()


def vector_model(extractor: Hearing, describe: Callable[[SpectrumGraph], Value]) -> Any:
    """An extractor's graph; `describe` gives its (n_dims,) values."""
    graph = Graph(extractor.name)
    waveform = graph.input(WAVEFORM, np.float32, ["n_samples"])
    graph.output(FEATURES, describe(heard(waveform, extractor)), ["n_dims"])
    return graph.model()


def heard(waveform: Value, hearing: Hearing) -> SpectrumGraph:
    """Spectrum of the stretch that is heard."""
    rate = hearing.sample_rate
    latest = (waveform.size(0) - hearing.n_fft).at_least(0)
    start = latest.at_most(round(hearing.offset * rate))
    end = LARGEST if hearing.duration is None else start + round(hearing.duration * rate)
    samples = _rounded(waveform.part(start, end), hearing.bits)
    return SpectrumGraph(samples, rate, hearing.n_fft, hearing.hop_length)


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
