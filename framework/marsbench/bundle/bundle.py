"""A fitted pipeline: from a recording to probabilities, by the code that cross-validation used."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.audio import Waveform, checked, decode, read_bytes, resample
from marsbench.bundle.model_file import Predictor
from marsbench.bundle.prediction import Prediction, Window
from marsbench.bundle.record import BundleRecord
from marsbench.errors import AudioError, BenchError
from marsbench.execution.threads import limited_threads
from marsbench.extraction import extracted
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.registry import make
from marsbench.validation import shown_path

MAX_SECONDS = 3600.0
"""Longest recording that is predicted."""
_ABOUT = 1.5
"""Times the longest training clip that a recording is still taken as a whole."""
_BATCH = 64
"""Windows predicted at a time."""

Source = str | Path | bytes | Waveform
"""A recording: a path, a file's bytes, or mono samples with their rate."""


@dataclass(frozen=True, repr=False)
class Bundle:
    """A feature extractor and a model that was trained on its features."""

    record: BundleRecord
    model: Predictor
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
        self,
        source: Source | NDArray[np.floating[Any]],
        sample_rate: int | None = None,
        *,
        max_seconds: float = MAX_SECONDS,
    ) -> Prediction:
        """What a recording sounds like.

        One that is much longer than the clips of training is cut into windows as long as those, each half
        over the next.

        Args:
            source: a path, a file's bytes, a `Waveform`, or samples (n_samples,), nominally in [-1, 1].
            sample_rate: of samples, in Hz; any, they are resampled.
            max_seconds: longest recording to be taken.

        Raises:
            AudioError: unreadable, empty, silent, too short, longer than `max_seconds`, or samples without
                their rate.
            PluginError: the feature extractor fails on it.
        """
        if isinstance(source, np.ndarray):
            if sample_rate is None:
                raise AudioError("samples without their rate; predict(samples, sample_rate)")
            source = Waveform(np.asarray(source, np.float32), sample_rate)
        return self._answered([self._heard(source, max_seconds)])[0]

    def predict_each(
        self, sources: Iterable[Source], *, max_seconds: float = MAX_SECONDS
    ) -> Iterator[Prediction | BenchError]:
        """What each recording sounds like, or why that cannot be told, in their order.

        Several are predicted together, which takes less time than one by one.
        """
        waiting: list[_Heard | BenchError] = []
        for source in sources:
            try:
                waiting.append(self._heard(source, max_seconds))
            except BenchError as error:
                waiting.append(error)
            n_windows = sum(len(heard.arrays) for heard in waiting if isinstance(heard, _Heard))
            if max(len(waiting), n_windows) >= _BATCH:
                yield from self._told(waiting)
                waiting = []
        yield from self._told(waiting)

    def _told(self, waiting: list["_Heard | BenchError"]) -> Iterator[Prediction | BenchError]:
        answers = iter(self._answered([heard for heard in waiting if isinstance(heard, _Heard)]))
        return (next(answers) if isinstance(heard, _Heard) else heard for heard in waiting)

    def probabilities(self, arrays: list[Floats]) -> NDArray[np.float64]:
        """Probability of each class, (n_clips, n_classes), by what the extractor returned for each clip."""
        # An ONNX file takes any number of frames.
        n_frames = None if self.record.form == "onnx" else self.record.input_shape[0]
        batches = [arrays[start : start + _BATCH] for start in range(0, len(arrays), _BATCH)]
        seen = (for_model(batch, self.model.accepts, n_frames) for batch in batches)
        return np.concatenate([self.model.predict_proba(features) for features in seen])

    def _heard(self, source: Source, max_seconds: float) -> "_Heard":
        rate = self.record.sample_rate
        recorded = _waveform(source, max_seconds)
        waveform = resample(recorded, rate)
        spans = list(self._spans(waveform))
        parts = (Waveform(waveform.samples[start:end], rate) for start, end in spans)
        with limited_threads(1):  # as every unit of a run: the last digits depend on it
            arrays = [extracted(self.extractor, part) for part in parts]
        needed = min(rate, self.record.corpus.lowest_sample_rate)
        windows = [(start / rate, end / rate) for start, end in spans]
        return _Heard(windows, arrays, waveform.seconds, recorded.sample_rate < needed)

    def _answered(self, recordings: list["_Heard"]) -> list[Prediction]:
        if not recordings:
            return []
        with limited_threads(1):
            rows = self.probabilities([array for heard in recordings for array in heard.arrays])
        ends = np.cumsum([len(heard.arrays) for heard in recordings])
        return [
            self._prediction(heard, part)
            for heard, part in zip(recordings, np.split(rows, ends[:-1]), strict=True)
        ]

    def _prediction(self, heard: "_Heard", rows: NDArray[np.float64]) -> Prediction:
        return Prediction(
            labels=self.labels,
            probabilities=rows.mean(axis=0),
            windows=tuple(Window(*span, row) for span, row in zip(heard.spans, rows, strict=True)),
            seconds=heard.seconds,
            lacks_high_tones=heard.lacks_high_tones,
        )

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


class _Heard(NamedTuple):
    """A recording's features."""

    spans: list[tuple[float, float]]
    """Begin and end of each window, in seconds."""
    arrays: list[Floats]
    """What the extractor returned for each."""
    seconds: float
    lacks_high_tones: bool


def _waveform(source: Source, max_seconds: float) -> Waveform:
    if isinstance(source, Waveform):
        return checked(source, max_seconds=max_seconds)
    if isinstance(source, bytes):
        return decode(source, max_seconds=max_seconds)
    try:
        return decode(read_bytes(Path(source)), max_seconds=max_seconds)
    except AudioError as error:
        raise AudioError(f"{shown_path(source)}: {error}") from error
