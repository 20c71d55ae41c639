"""Hidden states of a pretrained speech encoder, pooled over a clip."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marsbench.plugin.features import FeatureKind, Floats
from marsbench_plugins.speech_encoding import SpeechEncoding


@dataclass
class SpeechEncoder(SpeechEncoding):
    """Mean and standard deviation over a clip of the layers of a frozen pretrained speech encoder.

    docs/encoders.md explains the parameters, and which layers carry what.

    Raises:
        ValueError: a parameter is out of range.
    """

    kind: ClassVar[FeatureKind] = "vector"

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Means of all dimensions, followed by their standard deviations, (2 * n_dims,)."""
        frames = self.frames(waveform)
        moments = [frames.mean(axis=0, dtype=np.float64), frames.std(axis=0, dtype=np.float64)]
        return np.concatenate(moments, dtype=np.float32)
