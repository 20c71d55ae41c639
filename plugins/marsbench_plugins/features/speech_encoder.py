"""A frozen pretrained encoder, over a whole clip."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marsbench.plugin.features import FeatureKind, Floats
from marsbench_plugins.speech_encoding import SpeechEncoding


@dataclass
class SpeechEncoder(SpeechEncoding):
    """Mean and deviation over a clip of what the layers of a frozen pretrained speech encoder answer.

    docs/encoders.md explains the parameters, and which layers carry what.

    Raises:
        ValueError: a parameter is out of its range.
    """

    kind: ClassVar[FeatureKind] = "vector"

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Means of all dimensions, then standard deviations, (2 * n_dims,)."""
        frames = self.frames(waveform)
        moments = [frames.mean(axis=0, dtype=np.float64), frames.std(axis=0, dtype=np.float64)]
        return np.concatenate(moments, dtype=np.float32)
