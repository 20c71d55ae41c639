"""Mel and chroma filter banks, numerically equal to librosa's.

`librosa.filters` itself takes about 15 s to compile on its first use on a machine.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.plugin.features import Floats

Doubles = NDArray[np.float64]

_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27
_BLOCKS = 8
A0_HZ = 440 / 16
CENTRE_OCTAVE = 5.0
OCTAVE_WIDTH = 2.0
STEPS_FROM_A_TO_C = 3


@lru_cache(maxsize=16)
def mel_bank(sample_rate: int, n_fft: int, n_mels: int) -> Floats:
    """Triangles of equal area on Slaney's mel scale, 0 Hz to half the rate, (n_bins, n_mels).

    Slaney (1998), Auditory Toolbox, technical report 1998-010: linear below 1 kHz, logarithmic above.
    """
    frequencies = np.fft.rfftfreq(n_fft, 1 / sample_rate)[:, None]
    corners = _mel_to_hz(np.linspace(0, _hz_to_mel(sample_rate / 2), n_mels + 2))
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies - left) / (centre - left)
    falling = (right - frequencies) / (right - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return _frozen(triangles * 2 / (right - left))


class Block(NamedTuple):
    """A block of consecutive bins, the bands with non-zero weights in it, and these weights."""

    bins: slice
    bands: slice
    weights: Floats


@lru_cache(maxsize=16)
def mel_blocks(sample_rate: int, n_fft: int, n_mels: int) -> tuple[Block, ...]:
    """`mel_bank` in blocks of bins; multiplying block by block skips most of its zeros."""
    bank = mel_bank(sample_rate, n_fft, n_mels)
    edges = np.linspace(0, len(bank), min(_BLOCKS, len(bank)) + 1).astype(int).tolist()
    return tuple(_block(bank, slice(first, end)) for first, end in pairwise(edges))


@lru_cache(maxsize=128)  # the tuning has at most 101 values
def chroma_bank(sample_rate: int, n_fft: int, n_chroma: int, tuning: float) -> Floats:
    """Gaussian filters around each pitch class from C on, (n_bins, n_chroma).

    Ellis (2007), Chroma feature analysis and synthesis. Octaves are weighted by a Gaussian centred five
    octaves above A0; `tuning` is the deviation from A = 440 Hz in steps of 1/n_chroma octave.
    """
    n_bins = n_fft // 2 + 1
    octaves = _octaves(sample_rate, n_fft, n_bins + 1, tuning / n_chroma)
    steps = n_chroma * octaves
    widths = np.maximum(np.diff(steps), 1)
    away = steps[:-1, None] - np.arange(n_chroma)
    half = round(n_chroma / 2)
    away = (away + half) % n_chroma - half
    bumps = np.exp(-0.5 * (2 * away / widths[:, None]) ** 2)
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    bumps *= np.exp(-0.5 * ((octaves[:-1, None] - CENTRE_OCTAVE) / OCTAVE_WIDTH) ** 2)
    return _frozen(np.roll(bumps, -STEPS_FROM_A_TO_C * (n_chroma // 12), axis=1))


def _block(bank: Floats, bins: slice) -> Block:
    reached = np.flatnonzero(bank[bins].any(axis=0))
    bands = slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0)
    return Block(bins, bands, _frozen(bank[bins, bands]))


def _octaves(sample_rate: int, n_fft: int, n_bins: int, tuning: float) -> Doubles:
    """Octaves above A0 of the first `n_bins` bins; bin 0 has no pitch and is set 1.5 below bin 1."""
    above = np.log2(np.arange(1, n_bins) * sample_rate / n_fft / A0_HZ) - tuning
    return np.concatenate([above[:1] - 1.5, above])


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_FROM_HZ:
        return hz / _HZ_PER_MEL
    return float(_LOG_FROM_HZ / _HZ_PER_MEL + np.log(hz / _LOG_FROM_HZ) / _LOG_STEP)


def _mel_to_hz(mels: Doubles) -> Doubles:
    beyond = np.maximum(mels - _LOG_FROM_HZ / _HZ_PER_MEL, 0)
    return np.where(beyond > 0, _LOG_FROM_HZ * np.exp(_LOG_STEP * beyond), mels * _HZ_PER_MEL)


def _frozen(bank: NDArray[np.floating]) -> Floats:
    """A read-only float32 array, as all callers share the cached bank."""
    shared = np.array(bank, np.float32, order="C")
    shared.flags.writeable = False
    return shared
