"""What a recording is recognised by after resampling, gain, trimmed silence, re-encoding or a shift in time.

A print is made of the power in eight bands below 3.5 kHz, 62.5 times a second, which is next to nothing in
silence. Of each band's course the Fourier transform is taken at 0.5, 1, ... 16 Hz. A shift in time turns the
phase of all bands alike, so the product of one band with the conjugate of the next does not change with it;
its root keeps loud moments from outweighing the rest, and the length of the vector says nothing but gain.

A print finds candidates cheaply; `likeness` compares the waveforms themselves.

A steady tone has no print: it looks like itself at every period and like any other of its pitch, so that
nothing could tell a copy from another take. No 0.1 s of RAVDESS and no noise comes near that.
"""

import base64
from itertools import pairwise

import numpy as np
import soxr
from numpy.typing import NDArray

RATE = 8_000
"""Hz; what a cheap codec or a telephone leaves is below half of it."""
_FRAME, _HOP = 256, 128
_SHORT = RATE // 50
"""Samples of a block whose level is taken."""
_BANDS = np.geomspace(100, 3_500, 9)
"""Edges in Hz."""
_STEADY = 0.01
"""Most that the power of a tone varies, as a part of its mean; speech varies by 0.026 at least in 0.1 s."""
_NOTHING = 1e-6
"""Power of a frame 96 dB below the loudest possible."""
_MODULATIONS = np.arange(0.5, 16.25, 0.5)
"""Hz; speech moves at these rates, and 0.5 Hz apart they differ for a clip of two seconds and more."""
SIZE = 2 * len(_MODULATIONS) * (len(_BANDS) - 2)
"""Numbers in a print: real and imaginary parts of 32 modulations by 7 pairs of bands."""


def sound_print(samples: NDArray[np.float32], sample_rate: int) -> str:
    """Base64 of `SIZE` signed bytes; empty for a steady tone or a clip without any sound in the bands."""
    at_rate = at_print_rate(samples, sample_rate)
    course = _band_power(at_rate)
    if _is_steady(course[2 : len(at_rate) // _HOP]):  # those frames that no silence before or behind touches
        return ""
    times = np.arange(len(course)) * (_HOP / RATE)
    turns = np.exp(-2j * np.pi * np.outer(_MODULATIONS, times)).astype(np.complex64)
    moves = np.einsum("mt,tb->mb", turns, course)  # no BLAS: the same numbers with any of them
    crossed = moves[:, :-1] * moves[:, 1:].conj()
    size = np.sqrt(np.abs(crossed))
    vector = np.divide(crossed, size, out=np.zeros_like(crossed), where=size > 0).view(np.float32).ravel()
    largest = np.abs(vector).max()
    if not largest > 0:
        return ""
    return base64.b64encode(np.rint(vector * (127 / largest)).astype(np.int8).tobytes()).decode()


def print_vector(text: str) -> NDArray[np.float32]:
    """Whole numbers (SIZE,); a sum of SIZE products of two of them is exact in float32.

    Raises:
        ValueError: `text` is no print.
    """
    vector = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    if len(vector) != SIZE or not vector.any():
        raise ValueError(f"a sound print of {len(vector)} bytes")
    return vector.astype(np.float32)


def at_print_rate(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Samples at `RATE`, as loud as they come: the largest of the given ones is 1."""
    level = np.asarray(samples / np.abs(samples).max(), np.float32)
    return np.asarray(soxr.resample(level, sample_rate, RATE, quality="LQ"), np.float32)


def likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Largest absolute normalised cross-correlation of two waveforms at `RATE` over all shifts, 0 to 1.

    What is below 100 Hz, hum and offset, is left out. Shifts are tried in half samples.
    """
    size = 1 << (len(first) + len(second) - 1).bit_length()
    a, b = (np.fft.rfft(waveform, size) for waveform in (first, second))
    for spectrum in (a, b):
        spectrum[: round(_BANDS[0] * size / RATE)] = 0
    energy = np.sqrt(np.vdot(a, a).real * np.vdot(b, b).real)
    both = np.fft.irfft(a * b.conj(), 2 * size)
    # irfft divides by its length and counts every frequency twice.
    return min(1.0, float(max(both.max(), -both.min()) * size / energy)) if energy > 0 else 0.0


def sounding_seconds(samples: NDArray[np.float32]) -> float:
    """How long a waveform at `RATE` would be if it were as loud all through: silence counts for nothing."""
    blocks = samples[: len(samples) // _SHORT * _SHORT].reshape(-1, _SHORT)
    levels = np.sqrt((blocks**2).mean(axis=1))
    power = float((levels**2).sum())
    return float(levels.sum()) ** 2 / power * _SHORT / RATE if power > 0 else 0.0


def _is_steady(course: NDArray[np.float32]) -> bool:
    power = course.sum(axis=1)
    return bool(np.ptp(power) <= _STEADY * power.mean() + _NOTHING)


def _band_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n_frames, n_bands)."""
    padded = np.pad(samples, _FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    frequencies = np.arange(_FRAME // 2 + 1) * (RATE / _FRAME)
    bands = [(low <= frequencies) & (frequencies < high) for low, high in pairwise(_BANDS)]
    return np.asarray(np.einsum("tf,bf->tb", power, np.array(bands, np.float32)), np.float32)
