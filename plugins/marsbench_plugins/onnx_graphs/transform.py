"""ONNX graph of the short-time Fourier transform of `spectrum.Spectrum`."""

from math import gcd, isqrt

import numpy as np
from numpy.typing import NDArray

from marsbench.plugin.onnx import Value
from marsbench_plugins.spectrum import hann

_MAX_ROW = 512
"""Longest row of a split transform; matrices for longer ones are large and slow."""


def framed(samples: Value, n_fft: int, hop_length: int) -> Value:
    """Centred windows of the zero-padded samples, (1 + n_samples // hop_length, n_fft)."""
    graph = samples.graph
    step = gcd(n_fft, hop_length)  # windows consist of whole rows of that length, which are copied at once
    n_frames = samples.size(0) / hop_length + 1
    end = (n_frames - 1) * hop_length + n_fft
    padded = graph.node("Pad", samples, graph.vector(n_fft // 2, n_fft // 2), kind=samples.kind)
    rows = padded.part(0, end).reshape(-1, step)
    first = (graph.range(n_frames) * (hop_length // step)).reshape(-1, 1)
    return rows.take(first + np.arange(n_fft // step)).reshape(-1, n_fft)


def magnitudes(frames: Value, n_fft: int) -> Value:
    """Magnitudes of the Hann-windowed Fourier transform, float32 (n_frames, 1 + n_fft // 2)."""
    signals = frames.cast(np.float64) * hann(n_fft)
    n_rows = max(factor for factor in range(1, isqrt(n_fft) + 1) if n_fft % factor == 0)
    is_split = n_fft // n_rows <= _MAX_ROW
    real, imaginary = _split_transform(signals, n_rows, n_fft) if is_split else _transform(signals, n_fft)
    return _absolute(real.cast(np.float32), imaginary.cast(np.float32))


def _split_transform(signals: Value, n_rows: int, n_fft: int) -> tuple[Value, Value]:
    """As `_transform`, by matrices: ten times faster in onnxruntime if `n_fft` is not a power of two.

    Cooley & Tukey (1965), Mathematics of Computation 19, 297-301, with sample `row * n_columns + column` and
    bin `first + n_rows * second`.
    """
    n_columns = n_fft // n_rows
    rows, columns = np.arange(n_rows), np.arange(n_columns)
    graph, samples = signals.graph, signals.reshape(0, n_rows, n_columns)
    outer, twiddles = _rotations(rows, rows, n_rows), _rotations(rows, columns, n_fft)
    real, imaginary = (graph.value(part, np.float64) @ samples for part in (outer.real, outer.imag))
    both = graph.joined(
        [
            real * twiddles.real - imaginary * twiddles.imag,
            real * twiddles.imag + imaginary * twiddles.real,
        ],
        axis=2,
    )
    inner = _rotations(columns, np.arange(n_columns // 2 + 1), n_columns)
    matrices = np.vstack([inner.real, -inner.imag]), np.vstack([inner.imag, inner.real])
    real, imaginary = ((both @ matrix).transpose(0, 2, 1).reshape(0, -1) for matrix in matrices)
    n_bins = n_fft // 2 + 1
    return real.part(0, n_bins, axis=1), imaginary.part(0, n_bins, axis=1)


def _rotations(first: NDArray[np.int64], second: NDArray[np.int64], length: int) -> NDArray[np.complex128]:
    angles = -2 * np.pi * (np.outer(first, second) % length) / length
    return np.asarray(np.exp(1j * angles), np.complex128)


def _transform(signals: Value, n_fft: int) -> tuple[Value, Value]:
    columns = signals.reshape(0, n_fft, 1)
    transform = signals.graph.node("DFT", columns, kind=np.float64, axis=1, onesided=1)
    return transform.take(np.int64(0), axis=2), transform.take(np.int64(1), axis=2)


def _absolute(real: Value, imaginary: Value) -> Value:
    """As NumPy's `abs`, to the last bit, as the tuning estimate compares neighbouring bins for equality."""
    real, imaginary = real.apply("Abs"), imaginary.apply("Abs")
    larger, smaller = real.at_least(imaginary), real.at_most(imaginary)
    ratio = (smaller / larger.at_least(np.finfo(np.float32).tiny)).cast(np.float64)
    return (ratio * ratio + 1).cast(np.float32).apply("Sqrt") * larger
