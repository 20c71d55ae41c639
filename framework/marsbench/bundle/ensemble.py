"""Several fitted pipelines that answer as one: each hears the same windows, their probabilities are fused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.audio import Waveform
from marsbench.bundle.base import BaseBundle, Span
from marsbench.bundle.bundle import Bundle
from marsbench.bundle.record import EnsembleBundleRecord
from marsbench.errors import PluginError
from marsbench.plugin.features import Floats


@dataclass(frozen=True, repr=False)
class EnsembleBundle(BaseBundle[tuple[Floats, ...]]):
    """Members, in the order of the record's."""

    record: EnsembleBundleRecord
    members: tuple[Bundle, ...]
    folders: tuple[Path, ...]

    def hear(self, recorded: Waveform, spans: Sequence[Span]) -> list[tuple[Floats, ...]]:
        """What each member's extractor returns for each window, which members of equal features share."""
        by_recipe: dict[str, list[Floats]] = {}
        for member in self.members:
            if member.record.features.key not in by_recipe:
                by_recipe[member.record.features.key] = member.hear(recorded, spans)
        return list(zip(*(by_recipe[one.record.features.key] for one in self.members), strict=True))

    def probabilities(self, heard: list[tuple[Floats, ...]]) -> NDArray[np.float64]:
        """What the members say to each window, fused, (n_windows, n_classes); raises PluginError."""
        answers = [
            member.probabilities(list(windows))
            for member, windows in zip(self.members, zip(*heard, strict=True), strict=True)
        ]
        if len({answer.shape for answer in answers}) > 1:
            raise PluginError("the members of the ensemble answer with different numbers of classes")
        return self.fuse(np.stack(answers))

    def fuse(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the members' probabilities, (n_members, n_clips, n_classes), to (n_clips, n_classes)."""
        from marsbench.evaluation.fusion import average, pool  # brings SciPy's optimisers: half a second

        if self.record.fusion == "mean":
            return average(probabilities)
        return pool(probabilities, np.array([member.weight for member in self.record.members]))
