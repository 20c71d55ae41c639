"""librosa's own feature functions, chosen by name and computed from one short-time Fourier transform.

The first call in a new installation compiles librosa: some 20 s of processor time, and 4 s more for `pyin`.
The compiled code is kept beside librosa's own files; later processes load it in 2 s.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from marsbench.errors import unknown
from marsbench.plugin.features import Floats
from marsbench.plugin.search_space import HyperParameters
from marsbench_plugins.framing import SpectralExtractor, require_whole
from marsbench_plugins.spectrum import contrast_bands

_MOST_DELTAS = 2


@dataclass
class LibrosaFunctions(SpectralExtractor):
    """Base of the extractors that call librosa's functions.

    Args:
        features: names of librosa's functions, separated by commas, in the order of the dimensions.
            Spectral: mfcc, melspectrogram (in dB), chroma_stft, spectral_contrast, spectral_centroid,
            spectral_bandwidth, spectral_rolloff, spectral_flatness, poly_features, tonnetz (of chroma_stft),
            rms, zero_crossing_rate. Rhythm: onset_strength, tempo, tempogram. Pitch: yin (Hz), pyin (Hz, 0
            where unvoiced, and the probability of voice).
        deltas: highest order of librosa's `delta` (over 9 frames) that is appended: 0, 1 or 2.
        n_mfcc: coefficients of mfcc.
        n_mels: bands of melspectrogram, and of the mel spectrum behind mfcc, onset_strength and tempo.
        fmin: lowest pitch of yin and pyin in Hz.
        fmax: highest pitch of yin and pyin in Hz.

    Raises:
        ValueError: a parameter is out of range, or no such feature.
    """

    requires: ClassVar[tuple[str, ...]] = ("librosa", "numpy", "scipy")

    offset: float = 0.0
    duration: float | None = None
    features: str = "mfcc,chroma_stft,spectral_contrast"
    deltas: int = 0
    n_mfcc: int = 20
    n_mels: int = 128
    fmin: float = 65.0
    fmax: float = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("n_mels", self.n_mels)
        require_whole("n_mfcc", self.n_mfcc, self.n_mels)
        if self.deltas not in range(_MOST_DELTAS + 1):
            raise ValueError(f"deltas must be 0, 1 or 2, not {self.deltas!r}")
        if "spectral_contrast" in self.chosen:
            contrast_bands(self.sample_rate, self.n_fft)
        lowest, highest = 2 * self.sample_rate / self.n_fft, self.sample_rate / 2
        if {"yin", "pyin"} & set(self.chosen) and not lowest < self.fmin < self.fmax <= highest:
            raise ValueError(
                f"{lowest:.3g} < fmin < fmax <= {highest:.5g} is needed (two periods in n_fft samples), not "
                f"fmin={self.fmin}, fmax={self.fmax}"
            )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names in `features`; raises ValueError for an unknown or a repeated one."""
        names = tuple(name.strip() for name in self.features.split(","))
        for name in names:
            if name not in _FUNCTIONS:
                raise ValueError(unknown("librosa feature", name, _FUNCTIONS))
        if len(set(names)) < len(names):
            raise ValueError(f"features must name each feature once, not '{self.features}'")
        return names

    def build(self, hp: HyperParameters) -> Self:
        """Extractor with the number of MFCC and the deltas that a tuner chooses."""
        deltas = hp.Choice("deltas", sorted({0, 1, self.deltas}), default=self.deltas)
        if "mfcc" not in self.chosen:
            return replace(self, deltas=deltas)
        numbers = sorted({min(n, self.n_mels) for n in (13, 20, 40)} | {self.n_mfcc})
        return replace(self, deltas=deltas, n_mfcc=hp.Choice("n_mfcc", numbers, default=self.n_mfcc))

    def frames(self, waveform: Floats, sample_rate: int) -> Floats:
        """The chosen features side by side, then their deltas, (n_frames, n_dims)."""
        import librosa

        with warnings.catch_warnings():
            # On silence there is no tuning to estimate; librosa then takes 0.
            warnings.filterwarnings("ignore", "Trying to estimate tuning from empty frequency set")
            clip = _Clip(self.excerpt(waveform, sample_rate), self)
            static = np.vstack([_FUNCTIONS[name](clip) for name in self.chosen])
        # `nearest`: librosa's default refuses clips of fewer than 9 frames.
        orders = range(1, self.deltas + 1)
        deltas = [librosa.feature.delta(static, order=order, mode="nearest") for order in orders]
        return np.ascontiguousarray(np.vstack([static, *deltas]).T, np.float32)


class _Clip:
    """What several of librosa's functions start from; arrays have one column a frame, as librosa's."""

    def __init__(self, samples: Floats, extractor: LibrosaFunctions) -> None:
        self.samples = samples
        self.extractor = extractor
        self.rate = {"sr": extractor.sample_rate}
        self.hop = {"hop_length": extractor.hop_length}
        self.frame = {"frame_length": extractor.n_fft, **self.hop}

    @cached_property
    def librosa(self) -> Any:
        import librosa

        return librosa

    @cached_property
    def magnitude(self) -> Any:
        """Magnitudes of the centred, zero-padded STFT, (1 + n_fft // 2, n_frames)."""
        n_fft = self.extractor.n_fft
        # Padded here: librosa warns of clips shorter than a frame.
        padded = np.pad(self.samples, n_fft // 2)
        return np.abs(self.librosa.stft(padded, n_fft=n_fft, center=False, **self.hop))

    @cached_property
    def mel_db(self) -> Any:
        """Mel spectrum in dB, (n_mels, n_frames)."""
        power = self.magnitude**2
        mel = self.librosa.feature.melspectrogram(S=power, n_mels=self.extractor.n_mels, **self.rate)
        return self.librosa.power_to_db(mel)

    @cached_property
    def chroma(self) -> Any:
        """Energy of the pitch classes, (12, n_frames)."""
        n_fft = self.extractor.n_fft
        return self.librosa.feature.chroma_stft(S=self.magnitude**2, n_fft=n_fft, **self.rate)

    @cached_property
    def onsets(self) -> Any:
        """Onset strength, (n_frames,)."""
        return self.librosa.onset.onset_strength(S=self.mel_db, **self.rate, **self.hop)

    def spectral(self, name: str) -> Any:
        """What one of librosa's functions of the magnitude and the rate gives."""
        return getattr(self.librosa.feature, name)(S=self.magnitude, **self.rate)

    def rhythm(self, name: str, **options: Any) -> Any:
        """What one of librosa's functions of the onset strength gives."""
        function = getattr(self.librosa.feature, name)
        return function(
            onset_envelope=self.onsets, hop_length=self.extractor.hop_length, **self.rate, **options
        )

    def pitch(self, name: str, **options: Any) -> Any:
        """What one of librosa's pitch trackers gives."""
        span = {"fmin": self.extractor.fmin, "fmax": self.extractor.fmax}
        return getattr(self.librosa, name)(self.samples, **span, **self.rate, **self.frame, **options)


def _pyin(clip: _Clip) -> Any:
    hertz, _, probability = clip.pitch("pyin", fill_na=0.0)
    return np.vstack([hertz, probability])


_FUNCTIONS: dict[str, Callable[[_Clip], Any]] = {
    "mfcc": lambda clip: clip.librosa.feature.mfcc(S=clip.mel_db, n_mfcc=clip.extractor.n_mfcc),
    "melspectrogram": lambda clip: clip.mel_db,
    "chroma_stft": lambda clip: clip.chroma,
    "spectral_contrast": lambda clip: clip.spectral("spectral_contrast"),
    "spectral_centroid": lambda clip: clip.spectral("spectral_centroid"),
    "spectral_bandwidth": lambda clip: clip.spectral("spectral_bandwidth"),
    "spectral_rolloff": lambda clip: clip.spectral("spectral_rolloff"),
    "spectral_flatness": lambda clip: clip.librosa.feature.spectral_flatness(S=clip.magnitude),
    "poly_features": lambda clip: clip.spectral("poly_features"),
    "tonnetz": lambda clip: clip.librosa.feature.tonnetz(chroma=clip.chroma),
    "rms": lambda clip: clip.librosa.feature.rms(S=clip.magnitude, **clip.frame),
    "zero_crossing_rate": lambda clip: clip.librosa.feature.zero_crossing_rate(clip.samples, **clip.frame),
    "onset_strength": lambda clip: clip.onsets,
    "tempo": lambda clip: clip.rhythm("tempo", aggregate=None),
    "tempogram": lambda clip: clip.rhythm("tempogram"),
    "yin": lambda clip: clip.pitch("yin"),
    "pyin": _pyin,
}
