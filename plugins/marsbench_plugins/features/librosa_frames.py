"""librosa's features, frame by frame."""

from dataclasses import dataclass
from typing import ClassVar

from marsbench.plugin.features import FeatureKind, Floats
from marsbench_plugins.framing import require_whole
from marsbench_plugins.librosa_functions import LibrosaFunctions


@dataclass
class LibrosaFrames(LibrosaFunctions):
    """librosa's spectral, rhythm and pitch features per frame, chosen by name.

    The numbers are librosa's, not normalised: models scale each dimension by the training clips.
    docs/features.md lists the names and the parameters.

    Raises:
        ValueError: a parameter is out of range, or no such feature.
    """

    kind: ClassVar[FeatureKind] = "frames"

    n_frames: int | None = 174

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_frames is not None:
            require_whole("n_frames", self.n_frames)

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """One row a frame, (n_frames, n_dims)."""
        return self.frames(waveform, sample_rate)[: self.n_frames]
