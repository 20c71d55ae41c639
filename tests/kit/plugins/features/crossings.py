"""One number a clip: how often the signal crosses zero."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marsbench.plugin import FeatureExtractor, FeatureKind, Floats


@dataclass
class Crossings(FeatureExtractor):
    """Zero crossings a second, in thousands."""

    kind: ClassVar[FeatureKind] = "vector"
    scale: float = 1.0

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Return one value."""
        crossings = np.count_nonzero(np.diff(np.signbit(waveform)))
        return np.array([self.scale * crossings / len(waveform) * sample_rate / 1000], np.float32)
