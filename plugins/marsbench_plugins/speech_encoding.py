"""What the extractors share that hear with a frozen pretrained encoder."""

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
_LONGEST = 30 * _RATE
"""Samples that an encoder without a window of its own hears at a time: its time grows with their square."""
_SHORTEST = _RATE // 10
"""Samples of a last window that is still heard; a few would be less than what one frame needs."""
_LEAST_VARIANCE = 1e-7
_LEAST_POWER = 1e-10


@dataclass
class SpeechEncoding(FeatureExtractor):
    """Frames of a pretrained encoder whose weights stay as they are.

    Args:
        encoder: a name of `bench models list`, or the path of an .onnx file.
        sha256: of its content; "" for that of the file that is found, which is then the recipe's.
        layers: numbers, where 0 is what enters the first and the last has the highest; or names of tensors.
        normalise: shift and scale each clip's samples to mean 0 and variance 1 first.
        level: add the level of each frame in dB, which the encoder may not be told.

    Raises:
        ValueError: a parameter is out of its range.
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
            raise ValueError(f"layers must be numbers from 0 on, or names of tensors, not {self.layers!r}")

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter, the encoder as name and checksum: where its file lies changes no result.

        Raises:
            ConfigError: no encoder is named, or it is not here.
            ExportError: a package of the extra `encoder` is missing.
        """
        for module in ("onnx", "onnxruntime"):
            if find_spec(module) is None:  # told now, though they are imported only where clips are heard
                import_extra(module, "encoder")
        file = self._file
        return super().parameters | {"encoder": file.name, "sha256": file.sha256}

    def frames(self, waveform: Floats) -> Floats:
        """One row for each 20 ms or so: the layers side by side, and the level; (n_frames, n_dims)."""
        samples = normalised(waveform) if self.normalise else waveform
        step = self._encoder.window or _LONGEST
        starts = [start for start in range(0, len(samples), step) if len(samples) - start >= _SHORTEST]
        return np.concatenate(
            [self._heard(waveform[at : at + step], samples[at : at + step]) for at in starts]
        )

    def _heard(self, waveform: Floats, samples: Floats) -> Floats:
        frames = self._encoder(samples)
        return np.hstack([frames, levels(waveform, len(frames))[:, None]]) if self.level else frames

    @cached_property
    def _file(self) -> EncoderFile:
        if not self.encoder:
            known = ", ".join(entry.name for entry in KNOWN)
            raise ConfigError(
                f"{self.name} needs an encoder: --set {self.name}.encoder=NAME or the path of an .onnx file; "
                f"known are {known}"
            )
        return find_encoder(self.encoder, self.sha256)

    @property
    def _encoder(self) -> OpenedEncoder:
        file = self._file
        return opened_encoder(file.name, file.sha256, file.path, tuple(self.layers))


def normalised(samples: Floats) -> Floats:
    """Samples of mean 0 and variance 1, as the authors of most of these encoders feed them."""
    variance = samples.var(dtype=np.float64) + _LEAST_VARIANCE
    return np.asarray((samples - samples.mean(dtype=np.float64)) / np.sqrt(variance), np.float32)


def levels(waveform: Floats, n_frames: int) -> Floats:
    """Level in dB re full scale of as many equal stretches, float32 (n_frames,); -100 at the least."""
    edges = np.linspace(0, len(waveform), n_frames + 1).astype(int)
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])[edges]
    power = np.diff(energy) / np.maximum(np.diff(edges), 1)
    return np.asarray(10 * np.log10(np.maximum(power, _LEAST_POWER)), np.float32)
