"""ONNX graph of `spectrum.Spectrum`, with the same method names."""

from functools import cached_property
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from marsbench.plugin.onnx import Value
from marsbench_plugins.filter_banks import A0_HZ, CENTRE_OCTAVE, OCTAVE_WIDTH, STEPS_FROM_A_TO_C, mel_bank
from marsbench_plugins.onnx_graphs.transform import framed, magnitudes
from marsbench_plugins.onnx_graphs.tuning import estimate_tuning
from marsbench_plugins.spectrum import LEAST_POWER, MFCC_BANDS, N_CHROMA, TOP_DB, Band, contrast_bands


class SpectrumGraph:
    """As `Spectrum`: every result is float32 with one row per frame."""

    def __init__(self, samples: Value, sample_rate: int, n_fft: int, hop_length: int) -> None:
        self.graph = samples.graph
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.magnitude = magnitudes(framed(samples, n_fft, hop_length), n_fft)
        """Magnitude of each bin, (n_frames, n_bins)."""

    @cached_property
    def power(self) -> Value:
        """Squared magnitudes, (n_frames, n_bins)."""
        return self.magnitude * self.magnitude

    def log_mel(self, n_mels: int = MFCC_BANDS) -> Value:
        """Levels in dB, (n_frames, n_mels)."""
        if n_mels not in self._log_mels:
            self._log_mels[n_mels] = decibels(self.power @ mel_bank(self.sample_rate, self.n_fft, n_mels))
        return self._log_mels[n_mels]

    def mfcc(self, n_mfcc: int) -> Value:
        """Coefficients from the zeroth on, (n_frames, n_mfcc)."""
        cosines: NDArray[np.float64] = fft.dct(np.eye(MFCC_BANDS), type=2, norm="ortho", axis=1)[:, :n_mfcc]
        # In double precision, as the rounding errors of 128 levels near -100 dB would add up to 1e-3.
        return (self.log_mel().cast(np.float64) @ cosines).cast(np.float32)

    def chroma(self) -> Value:
        """Energy of the twelve pitch classes, divided by each frame's maximum, (n_frames, 12)."""
        tuning = estimate_tuning(self.power, self.sample_rate, self.n_fft)
        energy = self.power @ chroma_bank(tuning, self.sample_rate, self.n_fft)
        highest = energy.max(1, keep=True)
        has_energy = highest >= np.finfo(np.float32).tiny
        return energy / has_energy.where(highest, 1)

    def contrast(self) -> Value:
        """Peak to valley ratio of the magnitude in seven bands, dB, (n_frames, 7)."""
        bands = contrast_bands(self.sample_rate, self.n_fft)
        valleys, peaks = (
            self.graph.joined([self._extreme(band, largest=largest) for band in bands], axis=1)
            for largest in (False, True)
        )
        return decibels(peaks) - decibels(valleys)

    def _extreme(self, band: Band, *, largest: bool) -> Value:
        """Mean of a band's lowest or highest bins, (n_frames, 1)."""
        inside = self.magnitude.part(band.start, band.end, axis=1)
        return inside.sorted(band.n_extreme, axis=1, largest=largest).mean(1, keep=True)

    @cached_property
    def _log_mels(self) -> dict[int, Value]:
        return {}


def decibels(power: Value) -> Value:
    """10 log10 of `power`, floored at 1e-10 and at 80 dB below the highest value; any shape."""
    levels = power.at_least(LEAST_POWER).apply("Log") * (10 / log(10))
    return levels.at_least(levels.max() - TOP_DB)


def chroma_bank(tuning: Value, sample_rate: int, n_fft: int) -> Value:
    """As `filter_banks.chroma_bank`, float32 (n_bins, 12); `tuning` is a float64 scalar of the graph."""
    untuned = np.log2(np.arange(1, n_fft // 2 + 2) * sample_rate / n_fft / A0_HZ)
    untuned = np.concatenate([untuned[:1] - 1.5, untuned])[:, None]
    widths = np.maximum(np.diff(N_CHROMA * untuned, axis=0), 1)  # independent of the tuning
    octaves = -(tuning / N_CHROMA) + untuned[:-1]
    half = N_CHROMA // 2
    away = octaves * N_CHROMA + (half - np.arange(N_CHROMA))
    away = away - (away / N_CHROMA).apply("Floor") * N_CHROMA - half
    bumps = _bell(away * (2 / widths))
    bumps = bumps / (bumps * bumps).sum(1, keep=True).apply("Sqrt")
    weighted = bumps * _bell((octaves - CENTRE_OCTAVE) / OCTAVE_WIDTH)
    return weighted.take(np.roll(np.arange(N_CHROMA), -STEPS_FROM_A_TO_C), axis=1).cast(np.float32)


def _bell(deviations: Value) -> Value:
    return (deviations * deviations * -0.5).apply("Exp")
