"""Bases of the built-in extractors: excerpt of a clip, spectrum, normalisation, checks of parameters."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, cast, get_args

import numpy as np

from marsbench.data.audio import MAX_SECONDS
from marsbench.plugin.features import FeatureExtractor, FeatureKind, Floats
from marsbench.plugin.search_space import HyperParameters
from marsbench_plugins.spectrum import Spectrum

Normalisation = Literal["clip", "dimension", "none"]
"""By one mean and standard deviation over all values of a clip, by one of each per dimension, or not."""
FLAT = 1e-5
"""Smaller standard deviations are rounding errors of float32 values around 100 dB."""
_BITS_OF_FLOAT32 = 24
_MAX_PERCENT = 100


@dataclass
class SpectralExtractor(FeatureExtractor):
    """Computes a spectrum of an excerpt: `duration` seconds (None: all) starting at `offset` seconds.

    In a clip that ends before `offset` plus one window of `n_fft` samples, the excerpt is the last window, or
    the whole clip if it is shorter.

    Samples are rounded to `bits` bits (None: not rounded), so that a clip resampled in floating point gives
    the same features as the same clip in a 16-bit file. Otherwise the empty band above the resampler's
    cut-off, which contains rounding noise in a file, would change the highest spectral contrast by 40 dB.

    Raises:
        ValueError: a parameter is out of range.
    """

    requires: ClassVar[tuple[str, ...]] = ("numpy", "scipy")

    sample_rate: int = 22_050
    n_fft: int = 2048
    hop_length: int = 512
    offset: float = 0.5
    duration: float | None = 4.0
    bits: int | None = 16

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop_length"):
            require_whole(name, getattr(self, name))
        if self.n_fft % 2:
            raise ValueError(f"n_fft must be even, not {self.n_fft}")
        require_seconds("offset", self.offset, 0)
        if self.duration is not None:
            require_seconds("duration", self.duration, self.n_fft / self.sample_rate)
        if self.bits is not None:
            require_whole("bits", self.bits, _BITS_OF_FLOAT32)

    def excerpt(self, waveform: Floats, sample_rate: int) -> Floats:
        """Rounded samples of the excerpt, float32 (n_samples,)."""
        start = min(round(self.offset * sample_rate), max(0, len(waveform) - self.n_fft))
        end = None if self.duration is None else start + round(self.duration * sample_rate)
        return rounded(waveform[start:end], self.bits)

    def spectrum(self, waveform: Floats, sample_rate: int) -> Spectrum:
        """Spectrum of `excerpt`."""
        return Spectrum(self.excerpt(waveform, sample_rate), sample_rate, self.n_fft, self.hop_length)


@dataclass
class FrameExtractor(SpectralExtractor):
    """At most `n_frames` frames of features of a spectrum, normalised over the real frames of each clip.

    `normalisation` is "clip": by one mean and standard deviation over all values of the clip; "dimension": by
    one of each per dimension, which removes the means; or "none".

    Raises:
        ValueError: a parameter is out of range.
    """

    kind: ClassVar[FeatureKind] = "frames"

    n_frames: int | None = 174
    normalisation: Normalisation = "clip"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_frames is not None:
            require_whole("n_frames", self.n_frames)
        if self.normalisation not in get_args(Normalisation):
            allowed = ", ".join(get_args(Normalisation))
            raise ValueError(f"normalisation must be one of {allowed}, not {self.normalisation!r}")

    def build(self, hp: HyperParameters) -> Self:
        """Extractor with the normalisation that `hp` chooses."""
        choices = list(dict.fromkeys(["clip", "none", self.normalisation]))
        chosen = hp.Choice("normalisation", choices, default=self.normalisation)
        return replace(self, normalisation=cast("Normalisation", chosen))

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Normalised features, one row per frame, (n_frames, n_dims)."""
        frames = self.describe(self.spectrum(waveform, sample_rate))
        return normalised(frames[: self.n_frames], self.normalisation)

    def describe(self, spectrum: Spectrum) -> Floats:
        """Features of all frames before normalisation, (n, n_dims)."""
        raise NotImplementedError


def require_whole(name: str, value: int, most: int | None = None) -> None:
    """Raise ValueError unless `value` is an integer from 1 to `most` (None: no limit)."""
    if not isinstance(value, int) or value < 1 or (most is not None and value > most):
        allowed = "of at least 1" if most is None else f"from 1 to {most}"
        raise ValueError(f"{name} must be a whole number {allowed}, not {value!r}")


def require_seconds(name: str, value: float, least: float) -> None:
    """Raise ValueError unless `value` is between `least` and the duration of the longest usable clip."""
    if not least <= value <= MAX_SECONDS:
        raise ValueError(f"{name} must lie from {least:.3g} to {MAX_SECONDS:.3g} seconds, not {value}")


def require_percentiles(percentiles: list[float]) -> None:
    """Raise ValueError unless all are between 0 and 100."""
    for percentile in percentiles:
        if not 0 <= percentile <= _MAX_PERCENT:
            raise ValueError(f"percentiles must lie from 0 to {_MAX_PERCENT}, not {percentile}")


def rounded(samples: Floats, bits: int | None) -> Floats:
    """Samples rounded to the steps of a signed integer format of `bits` bits, without clipping."""
    if bits is None:
        return samples
    steps = np.float32(2 ** (bits - 1))
    nearest: Floats = np.rint(samples * steps) / steps
    return nearest


def normalised(frames: Floats, normalisation: Normalisation) -> Floats:
    """Subtract the mean and divide by the standard deviation; constant values become 0."""
    if normalisation == "none":
        return frames
    axis = 0 if normalisation == "dimension" else None
    mean = frames.mean(axis=axis, dtype=np.float64)
    deviation = frames.std(axis=axis, dtype=np.float64)
    scaled: Floats = ((frames - mean) / np.where(deviation < FLAT, np.inf, deviation)).astype(np.float32)
    return scaled
