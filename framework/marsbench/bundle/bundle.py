"""A fitted pipeline: from a recording to probabilities, by the code that cross-validation used."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from marsbench.audio import Waveform, resample
from marsbench.bundle.base import BATCH, BaseBundle, Span
from marsbench.bundle.model_file import Predictor
from marsbench.bundle.record import BundleRecord
from marsbench.extraction import extracted
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.registry import make


@dataclass(frozen=True, repr=False)
class Bundle(BaseBundle[Floats]):
    """A feature extractor and a model that was trained on its features."""

    record: BundleRecord
    model: Predictor
    folders: tuple[Path, ...]

    def hear(self, recorded: Waveform, spans: Sequence[Span]) -> list[Floats]:
        """What the extractor returns for each window; raises PluginError."""
        resampled = resample(recorded, self.record.sample_rate)
        return [extracted(self.extractor, _stretch(resampled, recorded, span)) for span in spans]

    def probabilities(self, heard: list[Floats]) -> NDArray[np.float64]:
        """Probability of each class, (n_clips, n_classes), by what the extractor returned for each clip."""
        # An ONNX file takes any number of frames.
        n_frames = None if self.record.form == "onnx" else self.record.input_shape[0]
        batches = [heard[start : start + BATCH] for start in range(0, len(heard), BATCH)]
        seen = (for_model(batch, self.model.accepts, n_frames) for batch in batches)
        return np.concatenate([self.model.predict_proba(features) for features in seen])

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """What its features are extracted by."""
        return cast("FeatureExtractor", make("features", self.record.features, self.folders))


def _stretch(resampled: Waveform, recorded: Waveform, span: Span) -> Waveform:
    """A window of a recording at another rate; up to the very end where it is the last."""
    ratio = resampled.sample_rate / recorded.sample_rate
    start, end = round(span[0] * ratio), round(span[1] * ratio)
    if span[1] == len(recorded.samples):
        end = len(resampled.samples)
    return Waveform(resampled.samples[start:end], resampled.sample_rate)
