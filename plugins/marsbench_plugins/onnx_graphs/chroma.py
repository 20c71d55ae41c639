"""The chroma filters of a tuning that is known only when the graph runs."""

import numpy as np

from marsbench.plugin.onnx import Value
from marsbench_plugins.filter_banks import A0_HZ, CENTRE_OCTAVE, OCTAVE_WIDTH, STEPS_FROM_A_TO_C

_N_CHROMA = 12


def chroma_bank(tuning: Value, sample_rate: int, n_fft: int) -> Value:
    """As `filter_banks.chroma_bank`, float32 (n_bins, 12); `tuning` is one float64 number."""
    untuned = np.log2(np.arange(1, n_fft // 2 + 2) * sample_rate / n_fft / A0_HZ)
    untuned = np.concatenate([untuned[:1] - 1.5, untuned])[:, None]
    widths = np.maximum(np.diff(_N_CHROMA * untuned, axis=0), 1)  # whatever the tuning
    octaves = -(tuning / _N_CHROMA) + untuned[:-1]
    half = _N_CHROMA // 2
    away = octaves * _N_CHROMA + (half - np.arange(_N_CHROMA))
    away = away - (away / _N_CHROMA).apply("Floor") * _N_CHROMA - half
    bumps = _bell(away * (2 / widths))
    bumps = bumps / (bumps * bumps).sum(1, keep=True).apply("Sqrt")
    weighted = bumps * _bell((octaves - CENTRE_OCTAVE) / OCTAVE_WIDTH)
    return weighted.take(np.roll(np.arange(_N_CHROMA), -STEPS_FROM_A_TO_C), axis=1).cast(np.float32)


def _bell(deviations: Value) -> Value:
    return (deviations * deviations * -0.5).apply("Exp")
