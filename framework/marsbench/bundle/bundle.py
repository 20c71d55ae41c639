"""A fitted pipeline: from a recording to probabilities, by the code that cross-validation used."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from marsbench.audio import Waveform, checked, decode, read_bytes, resample
from marsbench.bundle.prediction import Prediction, Window
from marsbench.bundle.record import BundleRecord
from marsbench.errors import AudioError
from marsbench.execution.threads import limited_threads
from marsbench.extraction import extracted
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.model import Model
from marsbench.plugin.registry import make

MAX_SECONDS = 3600.0
"""Longest recording that is predicted."""
_ABOUT = 1.5
"""Times the longest training clip that a recording is still taken as a whole."""
_BATCH = 64
"""Windows predicted at a time."""


@dataclass(frozen=True, repr=False)
class Bundle:
    """A feature extractor and a model that was trained on its features."""

    record: BundleRecord
    model: Model
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""

    def __repr__(self) -> str:
        record = self.record
        return f"<Bundle {record.features.name} + {record.model.name} on {record.corpus.name}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes, in the order of the probabilities."""
        return tuple(self.record.labels)

    def predict(
        self, source: str | Path | bytes | Waveform, *, max_seconds: float = MAX_SECONDS
    ) -> Prediction:
        """What a recording sounds like: a path, a file's bytes, or samples with their rate.

        One that is much longer than the clips of training is cut into windows as long as those, each half
        over the next.

        Raises:
            AudioError: unreadable, empty, silent, too short, longer than `max_seconds`.
            PluginError: the feature extractor fails on it.
        """
        waveform = resample(_waveform(source, max_seconds), self.record.sample_rate)
        spans = list(self._spans(waveform))
        with limited_threads(1):  # as every unit of a run: the last digits depend on it
            probabilities = self.probabilities([waveform.samples[start:end] for start, end in spans])
        rate = waveform.sample_rate
        return Prediction(
            labels=self.labels,
            probabilities=probabilities.mean(axis=0),
            windows=tuple(
                Window(start / rate, end / rate, row)
                for (start, end), row in zip(spans, probabilities, strict=True)
            ),
            seconds=waveform.seconds,
        )

    def probabilities(self, samples: list[Floats]) -> NDArray[np.float64]:
        """Probability of each class, (n_clips, n_classes), for samples at the bundle's rate."""
        arrays = [extracted(self.extractor, Waveform(part, self.record.sample_rate)) for part in samples]
        batches = [arrays[start : start + _BATCH] for start in range(0, len(arrays), _BATCH)]
        accepts, n_frames = self.model.accepts, self.record.input_shape[0]
        seen = (for_model(batch, accepts, n_frames) for batch in batches)
        return np.concatenate([self.model.predict_proba(features) for features in seen])

    def _spans(self, waveform: Waveform) -> Iterator[tuple[int, int]]:
        """First and behind-last sample of each window that is not silent."""
        corpus, n_samples = self.record.corpus, len(waveform.samples)
        if waveform.seconds <= _ABOUT * corpus.longest_seconds:
            yield 0, n_samples
            return
        size = round(corpus.median_seconds * waveform.sample_rate)
        starts = list(range(0, n_samples - size, max(1, size // 2)))
        for start in [*starts, n_samples - size]:
            if waveform.samples[start : start + size].any():
                yield start, start + size

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """What its features are extracted by."""
        return cast("FeatureExtractor", make("features", self.record.features, self.folders))


def _waveform(source: str | Path | bytes | Waveform, max_seconds: float) -> Waveform:
    if isinstance(source, Waveform):
        return checked(source, max_seconds=max_seconds)
    if isinstance(source, bytes):
        return decode(source, max_seconds=max_seconds)
    try:
        return decode(read_bytes(Path(source)), max_seconds=max_seconds)
    except AudioError as error:
        raise AudioError(f"{source}: {error}") from error
