"""A few numbers a frame: crossings and level of blocks of 256 samples."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marsbench.plugin import FeatureExtractor, FeatureKind, Floats


@dataclass
class Blocks(FeatureExtractor):
    """Crossings and level by block."""

    kind: ClassVar[FeatureKind] = "frames"
    sample_rate: int = 8000
    n_frames: int = 8

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Return (n_frames, 2)."""
        blocks = [waveform[start : start + 256] for start in range(0, min(len(waveform), 2048), 256)]
        rows = [[np.count_nonzero(np.diff(np.signbit(b))), 100 * np.abs(b).mean()] for b in blocks]
        return np.array(rows, np.float32)
