"""Changed versions of a clip, on which a pipeline can be trained beside the clip itself.

A version depends on nothing but the samples and its name: what is random is drawn from a generator that is
seeded by both. So every worker computes the same, and versions of one clip need no place in the corpus: they
are stored beside its features (`features.store`) and found by its row.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from marsbench.config import VersionKind, Versions
from marsbench.data.audio import MIN_SECONDS, Waveform
from marsbench.data.segments import content_of
from marsbench.hashing import derived_seed
from marsbench.versions import versions_of

_Samples = NDArray[np.float32]
_LIBRARIES = "librosa", "scipy"
_WINDOW_SECONDS = 0.05
"""Window of the Fourier transforms, rounded to a power of two samples, with several periods of a voice."""
_FORMANTS_END = 4800.0
"""Hz up to which a vocal tract's length scales frequencies; those above are squeezed or stretched."""
_QUEFRENCY = 0.002
"""Seconds up to which the cepstrum is of the vocal tract; the period of most voices is longer."""
_FLOOR, _MOST_GAIN = 1e-4, 10.0
"""Least share of the largest magnitude that counts, and most by which one is scaled (20 dB)."""
_REVERBERATION, _DIRECT_TO_REVERBERANT, _GAP = (0.2, 0.6), (0.0, 10.0), 0.002
"""Seconds of decay by 60 dB, dB, and seconds after the direct sound that the reverberation begins."""
_SIGNAL_TO_NOISE = 5.0, 20.0
"""dB."""


class _Version(NamedTuple):
    kind: VersionKind
    amount: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.kind} {self.amount:g}" if self.amount else self.kind


_VERSIONS = {
    one.name: one
    for one in (
        *(_Version("speed", 0.9), _Version("speed", 1.1)),
        *(_Version("pitch", -2.0), _Version("pitch", 2.0)),
        *(_Version("vtl", 0.9), _Version("vtl", 1.1)),
        *(_Version("room"), _Version("noise")),
    )
}


def names_of(versions: Versions | None) -> tuple[str, ...]:
    """Names of the versions of a clip, such as `speed 0.9`; empty for none."""
    return tuple(one.name for one in _VERSIONS.values() if versions and one.kind in versions.kinds)


def code_of(names: Sequence[str]) -> list[str]:
    """What stands for some versions in the key of what is made of them; empty for none."""
    if not names:  # every feature store asks, and each look-up of a library's version reads a file
        return []
    libraries = [f"{library} {version(library)}" for library in _LIBRARIES]
    return [*names, *versions_of("clip_versions"), *libraries]


def version_of(waveform: Waveform, name: str) -> Waveform:
    """A version of a clip at the same rate; only `speed` changes the number of samples, by at most a tenth.

    Args:
        waveform: the clip, at least 0.1 s; the version is as long or padded with zeros to that.
        name: one of `names_of`.
    """
    one = _VERSIONS[name]
    generator = np.random.default_rng(derived_seed(0, name, content_of(waveform)))
    samples = _MADE_BY[one.kind](waveform, one.amount, generator)
    missing = round(MIN_SECONDS * waveform.sample_rate) - len(samples)
    return replace(waveform, samples=np.pad(samples.astype(np.float32), (0, max(0, missing))))


def _speed(clip: Waveform, factor: float, _generator: np.random.Generator) -> _Samples:
    """Played faster: pitch, formants and tempo change together (Ko et al. 2015, Interspeech)."""
    return np.asarray(soxr.resample(clip.samples, clip.sample_rate * factor, clip.sample_rate, "VHQ"))


def _pitch(clip: Waveform, semitones: float, _generator: np.random.Generator) -> _Samples:
    """Shifted by semitones, formants with it, at the same tempo and as loud: librosa's phase vocoder."""
    from librosa.effects import pitch_shift

    size = _window_size(clip)
    shifted = pitch_shift(
        clip.samples, sr=clip.sample_rate, n_steps=semitones, n_fft=size, hop_length=size // 4
    )
    return _as_loud(shifted, clip)


def _vtl(clip: Waveform, factor: float, _generator: np.random.Generator) -> _Samples:
    """Formants scaled by a factor, at the same pitch and tempo.

    Frequencies of the spectral envelope are warped piecewise linearly (Jaitly & Hinton 2013, Vocal tract
    length perturbation improves speech recognition, ICML workshop). The envelope is that of the cepstrum's
    low quefrencies (Oppenheim & Schafer 1968, Homomorphic analysis of speech), so the harmonics stay.
    """
    from librosa import istft, stft

    size = _window_size(clip)
    spectrum = stft(clip.samples, n_fft=size, hop_length=size // 4)
    magnitudes = np.abs(spectrum)
    logarithms = np.log(np.maximum(magnitudes, max(_FLOOR * magnitudes.max(), np.finfo(np.float32).tiny)))
    cepstra = np.fft.irfft(logarithms, axis=0)
    order = max(1, round(_QUEFRENCY * clip.sample_rate))
    cepstra[order : size - order + 1] = 0
    envelopes = np.fft.rfft(cepstra, axis=0).real
    frequencies = np.linspace(0, clip.sample_rate / 2, size // 2 + 1)
    read_at = _warped(frequencies, 1 / factor, clip.sample_rate) / frequencies[1]
    below = np.minimum(read_at.astype(np.int64), len(frequencies) - 2)
    share = (read_at - below)[:, None]
    warped = (1 - share) * envelopes[below] + share * envelopes[below + 1]
    gain = np.clip(np.exp(warped - envelopes), 1 / _MOST_GAIN, _MOST_GAIN)
    return np.asarray(istft(spectrum * gain, hop_length=size // 4, n_fft=size, length=len(clip.samples)))


def _warped(frequencies: NDArray[np.float64], factor: float, rate: int) -> NDArray[np.float64]:
    """Frequencies times a factor up to a boundary, then on a line to half the rate, which stays."""
    end = rate / 2
    reach = min(_FORMANTS_END, 0.8 * end) * min(factor, 1.0)
    boundary = reach / factor
    above = end - (end - reach) / (end - boundary) * (end - frequencies)
    return np.where(frequencies <= boundary, factor * frequencies, above)


def _room(clip: Waveform, _amount: float, generator: np.random.Generator) -> _Samples:
    """Heard in a room, as loud as before.

    Reverberation is Gaussian noise that decays exponentially, by 60 dB in the reverberation time (Polack
    1988, La transmission de l'énergie sonore dans les salles), after the direct sound.
    """
    from scipy.signal import fftconvolve

    seconds = generator.uniform(*_REVERBERATION)
    ratio = 10 ** (generator.uniform(*_DIRECT_TO_REVERBERANT) / 10)
    time = np.arange(round(seconds * clip.sample_rate)) / clip.sample_rate
    response = generator.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    response[time < _GAP] = 0
    response /= np.sqrt(ratio * (response**2).sum())
    response[0] = 1
    return _as_loud(fftconvolve(clip.samples, response)[: len(clip.samples)], clip)


def _noise(clip: Waveform, _amount: float, generator: np.random.Generator) -> _Samples:
    """With pink noise, whose power falls as 1 / f (Timmer & Koenig 1995, A&A 300, 707)."""
    n_bins = 2 ** (len(clip.samples) - 1).bit_length() // 2 + 1
    spectrum = generator.standard_normal(n_bins) + 1j * generator.standard_normal(n_bins)
    spectrum /= np.sqrt(np.maximum(np.arange(n_bins), 1))
    noise = np.fft.irfft(spectrum)[: len(clip.samples)]
    ratio = 10 ** (generator.uniform(*_SIGNAL_TO_NOISE) / 10)
    return np.asarray(clip.samples + noise * np.sqrt(_power(clip.samples) / (ratio * _power(noise))))


def _window_size(clip: Waveform) -> int:
    """Samples of a window: a power of two, 16 at least."""
    return int(2 ** max(4, round(np.log2(_WINDOW_SECONDS * clip.sample_rate))))


def _as_loud(samples: NDArray[np.floating], clip: Waveform) -> _Samples:
    """Samples of the clip's power, as it is where nothing is left of them."""
    power = _power(samples)
    return np.asarray(samples * np.sqrt(_power(clip.samples) / power)) if power else clip.samples


def _power(samples: NDArray[np.floating]) -> float:
    return float(np.square(samples, dtype=np.float64).mean())


_MADE_BY: dict[VersionKind, Callable[[Waveform, float, np.random.Generator], _Samples]] = {
    "speed": _speed,
    "pitch": _pitch,
    "vtl": _vtl,
    "room": _room,
    "noise": _noise,
}
