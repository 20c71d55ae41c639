"""Numbers that a waveform was made of: how many come first, then they, then all again."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marsbench.plugin import FeatureExtractor, FeatureKind, Floats


@dataclass
class Echo(FeatureExtractor):
    """The numbers behind the first sample."""

    kind: ClassVar[FeatureKind] = "vector"
    sample_rate: int = 1000

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Return them."""
        return np.array(waveform[1 : 1 + round(float(waveform[0]))], np.float32)
