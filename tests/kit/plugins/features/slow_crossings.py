"""How often the signal crosses zero, after a while; every clip is noted, so that a test can count them."""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from marsbench.plugin import FeatureExtractor, FeatureKind, Floats


@dataclass
class SlowCrossings(FeatureExtractor):
    """Adds a line to the file that KIT_LEDGER names for each clip: a digest of its samples."""

    kind: ClassVar[FeatureKind] = "vector"
    seconds: float = 0.005

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Return one value."""
        if ledger := os.environ.get("KIT_LEDGER"):
            with Path(ledger).open("a") as file:
                file.write(f"extract {hashlib.sha256(waveform.tobytes()).hexdigest()[:12]}\n")
        time.sleep(self.seconds)
        crossings = np.count_nonzero(np.diff(np.signbit(waveform)))
        return np.array([crossings / len(waveform) * sample_rate / 1000], np.float32)
