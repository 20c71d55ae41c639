"""ONNX graphs of the statistics of `features.functionals`."""

import numpy as np

from marsbench.plugin.onnx import Value


def moments(values: Value) -> list[Value]:
    """Mean and standard deviation over frames, float64 (1, n_dims) each."""
    doubles = values.cast(np.float64)
    mean = doubles.mean(0, keep=True)
    away = doubles - mean
    return [mean, (away * away).mean(0, keep=True).apply("Sqrt")]


def delta_moments(frames: Value) -> list[Value]:
    """Mean absolute value and standard deviation of frame differences, float64 (1, n_dims) each."""
    last = frames.size(0) - 1
    here = frames.graph.range(last.at_least(1))
    changes = frames.take((here + 1).at_most(last)) - frames.take(here)
    return [moments(changes.apply("Abs"))[0], moments(changes)[1]]


def percentiles(frames: Value, percents: list[float]) -> Value:
    """Percentiles over frames with linear interpolation, float64 (n_percentiles, n_dims)."""
    n_frames = frames.size(0)
    ranks = (n_frames - 1).cast(np.float64) * (np.array(percents) / 100)
    below = ranks.apply("Floor")
    ordered = frames.sorted(n_frames, axis=0).cast(np.float64)
    first = ordered.take(below.cast(np.int64))
    second = ordered.take((below.cast(np.int64) + 1).at_most(n_frames - 1))
    return first + (second - first) * (ranks - below).reshape(-1, 1)
