"""Compact audio fingerprints that survive resampling, gain, trimming, re-encoding and time shifts.

A fingerprint is computed from the power in eight frequency bands below 3.5 kHz, 62.5 frames a second. The
Fourier transform of each band's power over time is taken at 0.5, 1, ... 16 Hz. A time shift changes the phase
of all bands equally, so the product of one band's transform with the conjugate of the next band's does not
depend on it. Dividing each product by the square root of its magnitude keeps loud passages from dominating;
the overall scale only reflects gain and is normalised away.

Fingerprints select candidate pairs cheaply; `max_correlation` compares the waveforms themselves.

Steady tones have no fingerprint: a tone correlates with itself at every period and with any other tone of its
pitch, so a duplicate could not be told from another take. No 0.1 s of RAVDESS or of noise is that steady.
"""

import base64
from itertools import pairwise

import numpy as np
import soxr
from numpy.typing import NDArray

RATE = 8_000
"""Sample rate in Hz of the waveforms that are compared; narrowband codecs keep half of it."""
_FRAME, _HOP = 256, 128
_LEVEL_BLOCK = RATE // 50
"""Samples per block of `effective_seconds`."""
_BANDS = np.geomspace(100, 3_500, 9)
"""Band edges in Hz."""
_STEADY = 0.01
"""Largest power variation of a steady tone relative to its mean; 0.1 s of speech varies by 0.026 or more."""
_SILENCE = 1e-6
"""Power of a frame 96 dB below the loudest possible."""
_MODULATIONS = np.arange(0.5, 16.25, 0.5)
"""Modulation frequencies in Hz: the range of speech; 0.5 Hz is the resolution of a clip of two seconds."""
SIZE = 2 * len(_MODULATIONS) * (len(_BANDS) - 2)
"""Values per fingerprint: real and imaginary parts of 32 modulation frequencies by 7 pairs of bands."""


def compute_fingerprint(samples: NDArray[np.float32], sample_rate: int) -> str:
    """Fingerprint of mono samples (n_samples,), as base64 of `SIZE` signed bytes.

    Empty for a steady tone and for a clip without energy in the bands.
    """
    at_rate = resample_normalised(samples, sample_rate)
    power = _band_power(at_rate)
    if _is_steady(power[2 : len(at_rate) // _HOP]):  # the frames that do not overlap the padding
        return ""
    times = np.arange(len(power)) * (_HOP / RATE)
    rotations = np.exp(-2j * np.pi * np.outer(_MODULATIONS, times)).astype(np.complex64)
    spectrum = np.einsum("mt,tb->mb", rotations, power)  # not BLAS, whose last digits differ by machine
    cross = spectrum[:, :-1] * spectrum[:, 1:].conj()
    root = np.sqrt(np.abs(cross))
    vector = np.divide(cross, root, out=np.zeros_like(cross), where=root > 0).view(np.float32).ravel()
    largest = np.abs(vector).max()
    if not largest > 0:
        return ""
    return base64.b64encode(np.rint(vector * (127 / largest)).astype(np.int8).tobytes()).decode()


def fingerprint_vector(text: str) -> NDArray[np.float32]:
    """Decode a fingerprint into integers (SIZE,); dot products of two of them are exact in float32.

    Raises:
        ValueError: `text` is not a fingerprint.
    """
    vector = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    if len(vector) != SIZE or not vector.any():
        raise ValueError(f"{len(vector)} bytes are not an audio fingerprint, which has {SIZE}")
    return vector.astype(np.float32)


def resample_normalised(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Samples scaled to a peak of 1, then resampled to `RATE`."""
    normalised = np.asarray(samples / np.abs(samples).max(), np.float32)
    return np.asarray(soxr.resample(normalised, sample_rate, RATE, quality="LQ"), np.float32)


def max_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Largest absolute normalised cross-correlation of two waveforms at `RATE` over all shifts, 0 to 1.

    Frequencies below 100 Hz (hum, offset) are left out. Shifts have a resolution of half a sample.
    """
    size = 1 << (len(first) + len(second) - 1).bit_length()
    a, b = (np.fft.rfft(waveform, size) for waveform in (first, second))
    for spectrum in (a, b):
        spectrum[: round(_BANDS[0] * size / RATE)] = 0
    energy = np.sqrt(np.vdot(a, a).real * np.vdot(b, b).real)
    correlation = np.fft.irfft(a * b.conj(), 2 * size)
    # irfft divides by its length and counts every frequency twice.
    return min(1.0, float(max(correlation.max(), -correlation.min()) * size / energy)) if energy > 0 else 0.0


def effective_seconds(samples: NDArray[np.float32]) -> float:
    """Duration of a waveform at `RATE` weighted by level: (sum of levels)^2 / sum of squared levels.

    Equals the duration for constant level; silence adds nothing.
    """
    blocks = samples[: len(samples) // _LEVEL_BLOCK * _LEVEL_BLOCK].reshape(-1, _LEVEL_BLOCK)
    levels = np.sqrt((blocks**2).mean(axis=1))
    power = float((levels**2).sum())
    return float(levels.sum()) ** 2 / power * _LEVEL_BLOCK / RATE if power > 0 else 0.0


def _is_steady(band_power: NDArray[np.float32]) -> bool:
    power = band_power.sum(axis=1)
    return bool(np.ptp(power) <= _STEADY * power.mean() + _SILENCE)


def _band_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power by frame and band, (n_frames, n_bands)."""
    padded = np.pad(samples, _FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    frequencies = np.arange(_FRAME // 2 + 1) * (RATE / _FRAME)
    bands = [(low <= frequencies) & (frequencies < high) for low, high in pairwise(_BANDS)]
    return np.asarray(np.einsum("tf,bf->tb", power, np.array(bands, np.float32)), np.float32)
