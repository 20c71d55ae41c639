"""Windows of a waveform and their Fourier transform, as `spectrum.Spectrum` has them."""

from math import gcd

import numpy as np

from marsbench.plugin.onnx_builder import Value
from marsbench_plugins.spectrum import hann


def framed(samples: Value, n_fft: int, hop_length: int) -> Value:
    """Centred windows of the zero-padded samples, (1 + n_samples // hop_length, n_fft)."""
    graph = samples.graph
    step = gcd(n_fft, hop_length)  # windows overlap by whole steps: a row of them is copied at once
    n_frames = samples.size(0) / hop_length + 1
    end = (n_frames - 1) * hop_length + n_fft
    padded = graph.node("Pad", samples, graph.vector(n_fft // 2, n_fft // 2), kind=samples.kind)
    rows = padded.part(0, end).reshape(-1, step)
    first = (graph.range(n_frames) * (hop_length // step)).reshape(-1, 1)
    return rows.take(first + np.arange(n_fft // step)).reshape(-1, n_fft)


def magnitudes(frames: Value, n_fft: int) -> Value:
    """Of the Hann-windowed Fourier transform, float32 (n_frames, 1 + n_fft // 2)."""
    signals = (frames.cast(np.float64) * hann(n_fft)).reshape(0, n_fft, 1)
    transform = frames.graph.node("DFT", signals, kind=np.float64, axis=1, onesided=1).cast(np.float32)
    return _absolute(transform.take(np.int64(0), axis=2), transform.take(np.int64(1), axis=2))


def _absolute(real: Value, imaginary: Value) -> Value:
    """As numpy does it, to the last bit: the tuning estimate breaks ties by it."""
    real, imaginary = real.apply("Abs"), imaginary.apply("Abs")
    larger, smaller = real.at_least(imaginary), real.at_most(imaginary)
    ratio = (smaller / larger.at_least(np.finfo(np.float32).tiny)).cast(np.float64)
    return (ratio * ratio + 1).cast(np.float32).apply("Sqrt") * larger
