"""The log-mel front end of Whisper's encoders.

Radford et al. (2022), Robust speech recognition via large-scale weak supervision, arXiv:2212.04356; the
constants are those of their published code.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft

from marsbench.plugin.features import Floats
from marsbench_plugins.filter_banks import mel_bank
from marsbench_plugins.spectrum import hann

RATE = 16_000
HOP = 160
_N_FFT = 400
_LEAST_POWER = 1e-10
_DYNAMIC_RANGE = 8.0
"""In powers of ten, that is, 80 dB below the maximum."""


def whisper_log_mel(samples: Floats, n_frames: int, n_mels: int = 80) -> Floats:
    """Scaled logarithm of the power in Slaney's mel bands, float32 (n_mels, n_frames).

    Args:
        samples: at 16 kHz, (n_samples,); padded with zeros or truncated to `n_frames` frames of 10 ms.
        n_frames: length of the encoder's window.
        n_mels: number of bands.
    """
    half = _N_FFT // 2
    n_samples = n_frames * HOP
    used = samples[:n_samples]
    padded = np.pad(np.pad(used, (0, n_samples - len(used))), half, mode="reflect")
    windows = sliding_window_view(padded, _N_FFT)[::HOP][:n_frames]
    not_silent = windows[: -(-(len(used) + half) // HOP)]  # the others are padding only
    power = np.zeros((n_frames, n_mels))
    spectrum = np.abs(fft.rfft(not_silent * hann(_N_FFT), axis=1)) ** 2
    power[: len(not_silent)] = spectrum @ mel_bank(RATE, _N_FFT, n_mels)
    levels = np.log10(np.maximum(power, _LEAST_POWER))
    floored = np.maximum(levels, levels.max() - _DYNAMIC_RANGE)
    return np.ascontiguousarray(((floored + 4) / 4).T, np.float32)
