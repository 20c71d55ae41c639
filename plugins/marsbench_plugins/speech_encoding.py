"""Base of the extractors that use a frozen pretrained speech encoder."""

from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from marsbench.environment import import_extra
from marsbench.errors import ConfigError
from marsbench.features.pretrained import KNOWN, EncoderFile, find_encoder
from marsbench.plugin.features import FeatureExtractor, Floats
from marsbench_plugins.onnx_encoder import Layer, OpenedEncoder, opened_encoder

_RATE = 16_000
_MAX_WINDOW = 30 * _RATE
"""Samples per window of an encoder without a fixed window; its time grows with the square of the window."""
_MIN_WINDOW = _RATE // 10
"""Samples of the shortest last window that is used; shorter ones may give no frame."""
_LEAST_VARIANCE = 1e-7
_LEAST_POWER = 1e-10


@dataclass
class SpeechEncoding(FeatureExtractor):
    """Hidden states of a pretrained encoder, which is not trained.

    Args:
        encoder: a name of `bench models list`, or the path of an .onnx file.
        sha256: checksum of the file; "" accepts any file and records its checksum.
        layers: numbers, where 0 is the input of the first layer and N the output of layer N; or names of
            tensors.
        normalise: scale the samples of each clip to mean 0 and variance 1 first.
        level: add the level of each frame in dB, which normalisation removes.

    Raises:
        ValueError: a parameter is out of range.
    """

    requires: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "onnxruntime")
    sample_rate = _RATE

    encoder: str = ""
    sha256: str = ""
    layers: list[Layer] = field(default_factory=lambda: [1, 2, 3])
    normalise: bool = True
    level: bool = True

    def __post_init__(self) -> None:
        given = self.layers if isinstance(self.layers, list) else []
        if not given or not {type(layer) for layer in given} <= {int, str}:
            raise ValueError(f"layers must be numbers from 0 on or names of tensors, not {self.layers!r}")

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter, with the encoder's name and checksum instead of its path, which affects no result.

        Raises:
            ConfigError: no encoder is given, or it is not on this machine.
            ExportError: a package of the extra `encoder` is missing.
        """
        for module in ("onnx", "onnxruntime"):
            if find_spec(module) is None:  # checked early; they are imported only during extraction
                import_extra(module, "encoder")
        file = self._file
        return super().parameters | {"encoder": file.name, "sha256": file.sha256}

    def frames(self, waveform: Floats) -> Floats:
        """Concatenated layers, and the level, of each encoder frame (about 20 ms), (n_frames, n_dims)."""
        samples = normalised(waveform) if self.normalise else waveform
        step = self._encoder.window or _MAX_WINDOW
        starts = [start for start in range(0, len(samples), step) if len(samples) - start >= _MIN_WINDOW]
        return np.concatenate(
            [self._encode(waveform[at : at + step], samples[at : at + step]) for at in starts]
        )

    def _encode(self, waveform: Floats, samples: Floats) -> Floats:
        """Frames of one window."""
        frames = self._encoder(samples)
        return np.hstack([frames, levels(waveform, len(frames))[:, None]]) if self.level else frames

    @cached_property
    def _file(self) -> EncoderFile:
        if not self.encoder:
            known = ", ".join(entry.name for entry in KNOWN)
            raise ConfigError(
                f"{self.name} needs an encoder: --set {self.name}.encoder=NAME, or the path of an .onnx file."
                f" Available: {known}."
            )
        return find_encoder(self.encoder, self.sha256)

    @property
    def _encoder(self) -> OpenedEncoder:
        file = self._file
        return opened_encoder(file.name, file.sha256, file.path, tuple(self.layers))


def normalised(samples: Floats) -> Floats:
    """Samples scaled to mean 0 and variance 1, as most of these encoders were trained."""
    variance = samples.var(dtype=np.float64) + _LEAST_VARIANCE
    return np.asarray((samples - samples.mean(dtype=np.float64)) / np.sqrt(variance), np.float32)


def levels(waveform: Floats, n_frames: int) -> Floats:
    """Level of `n_frames` equal segments in dB re full scale, at least -100, float32 (n_frames,)."""
    edges = np.linspace(0, len(waveform), n_frames + 1).astype(int)
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])[edges]
    power = np.diff(energy) / np.maximum(np.diff(edges), 1)
    return np.asarray(10 * np.log10(np.maximum(power, _LEAST_POWER)), np.float32)
