"""Hidden states of a pretrained speech encoder over time."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from marsbench.plugin.features import FeatureKind, Floats
from marsbench_plugins.framing import require_whole
from marsbench_plugins.onnx_encoder import Layer
from marsbench_plugins.speech_encoding import SpeechEncoding


@dataclass
class SpeechEncoderFrames(SpeechEncoding):
    """Output of a layer of a frozen pretrained speech encoder, frame by frame.

    docs/encoders.md explains the other parameters, and which layers carry what.

    Args:
        averaged: number of encoder frames, 20 ms each, that are averaged into one frame.
        n_frames: maximum number of frames per clip.

    Raises:
        ValueError: a parameter is out of range.
    """

    kind: ClassVar[FeatureKind] = "frames"

    layers: list[Layer] = field(default_factory=lambda: [2])
    averaged: int = 4
    n_frames: int | None = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("averaged", self.averaged)
        if self.n_frames is not None:
            require_whole("n_frames", self.n_frames)

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Averaged encoder frames, (n_frames, n_dims)."""
        frames = self.frames(waveform)
        most = None if self.n_frames is None else self.n_frames * self.averaged
        starts = np.arange(0, len(frames[:most]), self.averaged)
        sums = np.add.reduceat(frames[:most], starts, axis=0, dtype=np.float64)
        counts = np.diff([*starts, len(frames[:most])])[:, None]
        return np.asarray(sums / counts, np.float32)
