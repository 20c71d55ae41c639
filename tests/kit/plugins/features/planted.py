"""Zero crossings, and a second number that is the answer for some clips and nonsense for the others."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from marsbench.plugin import FeatureExtractor, FeatureKind, Floats, HyperParameters


@dataclass
class Planted(FeatureExtractor):
    """`answers` holds the class by the start of the sha256 of the waveform's bytes."""

    kind: ClassVar[FeatureKind] = "vector"
    answers: dict[str, int] = field(default_factory=dict)
    scale: float = 1.0

    def build(self, hp: HyperParameters) -> Self:
        """The scale can be tuned; it matters to nobody."""
        return replace(self, scale=hp.Choice("scale", [1.0, 2.0], default=self.scale))

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Return two values."""
        crossings = np.count_nonzero(np.diff(np.signbit(waveform))) / len(waveform) * sample_rate / 1000
        mark = hashlib.sha256(waveform.tobytes()).hexdigest()
        answer = self.answers.get(mark[:16], int(mark[-4:], 16) % 3)
        return np.array([self.scale * crossings, answer], np.float32)
