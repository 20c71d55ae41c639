"""Statistics of librosa's features over a whole clip."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from marsbench.plugin.features import FeatureKind, Floats
from marsbench_plugins.framing import require_percentiles
from marsbench_plugins.librosa_functions import LibrosaFunctions


@dataclass
class LibrosaFeatures(LibrosaFunctions):
    """Statistics over a clip of librosa's spectral, rhythm and pitch features, chosen by name.

    Mean, standard deviation and percentiles of each dimension of `librosa_frames`, whose parameters are the
    same. docs/features.md lists the names.

    Raises:
        ValueError: a parameter is out of range, or no such feature.
    """

    kind: ClassVar[FeatureKind] = "vector"

    deltas: int = 1
    percentiles: list[float] = field(default_factory=lambda: [5, 25, 50, 75, 95])

    def __post_init__(self) -> None:
        super().__post_init__()
        require_percentiles(self.percentiles)

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Each statistic of every dimension in turn, ((2 + n_percentiles) * n_dims,)."""
        frames = self.frames(waveform, sample_rate)
        percentiles = np.percentile(frames, self.percentiles, axis=0)
        return np.concatenate([frames.mean(axis=0), frames.std(axis=0), *percentiles], dtype=np.float32)
