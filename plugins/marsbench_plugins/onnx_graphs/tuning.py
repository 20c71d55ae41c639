"""ONNX graph of `pitch_tuning`, bit by bit: a peak in another bin would change every chroma filter."""

from math import ceil, log

import numpy as np

from marsbench.plugin.onnx import Value
from marsbench_plugins.filter_banks import A0_HZ
from marsbench_plugins.pitch_tuning import EDGES, HIGHEST_HZ, LEAST_OF_MAXIMUM, LOWEST_HZ

_STEPS = 12


def estimate_tuning(power: Value, sample_rate: int, n_fft: int) -> Value:
    """Most frequent deviation of the spectral peaks from the scale, a float64 scalar; 0 without peaks."""
    pitches, heights = _peaks(power, sample_rate / n_fft, n_fft // 2 + 1)
    is_high = heights >= _median(heights)
    octaves = (pitches / A0_HZ).cast(np.float64).apply("Log") / log(2)
    steps = octaves.cast(np.float32) * _STEPS  # in single precision, as in `pitch_tuning`
    deviations = steps - steps.apply("Floor")
    deviations = (deviations >= EDGES[-1]).where(deviations - 1, deviations)
    return _most_frequent(deviations, is_high)


def _peaks(power: Value, hz_per_bin: float, n_bins: int) -> tuple[Value, Value]:
    """Interpolated frequency in Hz and height of each local maximum, float32 (n_peaks,) each."""
    first = max(1, ceil(LOWEST_HZ / hz_per_bin))
    end = max(first, min(ceil(HIGHEST_HZ / hz_per_bin), n_bins - 1))
    below, here, above = (power.part(first + step, end + step, axis=1) for step in (-1, 0, 1))
    is_peak = (here > power.max(1, keep=True) * LEAST_OF_MAXIMUM) & (here > below) & (here >= above)
    places = power.graph.node("NonZero", is_peak.reshape(-1), kind=np.int64).reshape(-1)
    below, here, above = (values.reshape(-1).take(places) for values in (below, here, above))
    shifts = _parabola_shifts(below, here, above)
    heights = here + (above - below) * 0.25 * shifts
    width = max(1, end - first)
    bins = places - places / width * width + first
    pitches = (bins.cast(np.float64) + shifts.cast(np.float64)) * hz_per_bin
    return pitches.cast(np.float32), heights


def _parabola_shifts(below: Value, here: Value, above: Value) -> Value:
    """Distance in bins of each parabola's vertex from its middle point; 0 if it would be 1 or more."""
    curvature = (above + below).cast(np.float64) - here.cast(np.float64) * 2
    slope = ((above - below) / 2).cast(np.float64)
    is_inside = slope.apply("Abs") < curvature.apply("Abs")
    return is_inside.where(-slope / is_inside.where(curvature, 1), 0).cast(np.float32)


def _median(values: Value) -> Value:
    """Median of (n,) values; undefined for n = 0."""
    n_values = values.size(0)
    graph = values.graph
    padded = graph.joined([values, values.like([np.inf])], axis=0).sorted(n_values + 1, axis=0)
    middle = graph.vector(((n_values - 1) / 2).at_least(0), n_values / 2)
    return padded.take(middle).mean()


def _most_frequent(deviations: Value, is_counted: Value) -> Value:
    """Lower edge of the first histogram bin with the highest count; 0 if nothing is counted."""
    graph = deviations.graph
    n_bins = len(EDGES) - 1
    bins = ((deviations.cast(np.float64) - EDGES[0]) * n_bins).cast(np.int64).at_most(n_bins - 1)
    empty = graph.value(np.zeros(n_bins), np.int64)
    counts = graph.node(
        "ScatterElements", empty, bins, is_counted.cast(np.int64), kind=np.int64, reduction="add"
    )
    fullest = graph.node("ArgMax", counts, kind=np.int64, axis=0, keepdims=0)
    return (counts.max() > 0).where(graph.value(EDGES, np.float64).take(fullest), 0)
