"""What every bundle does with a recording, whatever answers in it: one pipeline, or an ensemble."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import Waveform, checked, decode, read_bytes, resample
from marsbench.deployment.bundle_record import BaseRecord, BundleRecord, EnsembleBundleRecord
from marsbench.deployment.model_file import Predictor
from marsbench.deployment.prediction import Prediction, Window
from marsbench.errors import AudioError, BenchError, PluginError
from marsbench.execution.threads import limited_threads
from marsbench.features.store import extracted
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.registry import make
from marsbench.validation import shown_path

MAX_SECONDS = 3600.0
"""Longest recording that is predicted."""
BATCH = 64
"""Windows predicted at a time."""
_ABOUT = 1.5
"""Times the longest training clip that a recording is still taken as a whole."""

Source = str | Path | bytes | Waveform
"""A recording: a path, a file's bytes, or mono samples with their rate."""
Span = tuple[int, int]
"""First and behind-last sample of a window, at the rate of the recording."""
Heard = TypeVar("Heard")
"""What is extracted of a window."""


class BaseBundle(ABC, Generic[Heard]):
    """From a recording to probabilities. Subclasses say how a window is heard and answered."""

    record: BaseRecord
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""

    def __repr__(self) -> str:
        return f"<Bundle {self.record.title} on {self.record.corpus.name}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes, in the order of the probabilities."""
        return tuple(self.record.labels)

    @abstractmethod
    def hear(self, recorded: Waveform, spans: Sequence[Span]) -> list[Heard]:
        """What is extracted of each window of a recording at its own rate; raises PluginError."""

    @abstractmethod
    def probabilities(self, heard: list[Heard]) -> NDArray[np.float64]:
        """Probability of each class, (n_windows, n_classes), by what `hear` returned."""

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
        waiting: list[_Recording[Heard] | BenchError] = []
        for source in sources:
            try:
                waiting.append(self._heard(source, max_seconds))
            except BenchError as error:
                waiting.append(error)
            n_windows = sum(len(one.spans) for one in waiting if isinstance(one, _Recording))
            if max(len(waiting), n_windows) >= BATCH:
                yield from self._told(waiting)
                waiting = []
        yield from self._told(waiting)

    def _told(self, waiting: list["_Recording[Heard] | BenchError"]) -> Iterator[Prediction | BenchError]:
        answers = iter(self._answered([one for one in waiting if isinstance(one, _Recording)]))
        return (next(answers) if isinstance(one, _Recording) else one for one in waiting)

    def _heard(self, source: Source, max_seconds: float) -> "_Recording[Heard]":
        recorded = _waveform(source, max_seconds)
        rate = recorded.sample_rate
        spans = list(self._spans(recorded))
        with limited_threads(1):  # as every unit of a run: the last digits depend on it
            heard = self.hear(recorded, spans)
        needed = min(self.record.sample_rate, self.record.corpus.lowest_sample_rate)
        windows = [(start / rate, end / rate) for start, end in spans]
        return _Recording(windows, heard, recorded.seconds, rate < needed)

    def _answered(self, recordings: list["_Recording[Heard]"]) -> list[Prediction]:
        if not recordings:
            return []
        with limited_threads(1):
            rows = self.probabilities([window for one in recordings for window in one.heard])
        ends = np.cumsum([len(one.spans) for one in recordings])
        return [
            self._prediction(one, part)
            for one, part in zip(recordings, np.split(rows, ends[:-1]), strict=True)
        ]

    def _prediction(self, recording: "_Recording[Heard]", rows: NDArray[np.float64]) -> Prediction:
        return Prediction(
            labels=self.labels,
            probabilities=rows.mean(axis=0),
            windows=tuple(Window(*span, row) for span, row in zip(recording.spans, rows, strict=True)),
            seconds=recording.seconds,
            is_narrowband=recording.is_narrowband,
        )

    def _spans(self, recorded: Waveform) -> Iterator[Span]:
        """Each window that is not silent."""
        corpus, n_samples = self.record.corpus, len(recorded.samples)
        if recorded.seconds <= _ABOUT * corpus.longest_seconds:
            yield 0, n_samples
            return
        size = round(corpus.median_seconds * recorded.sample_rate)
        starts = list(range(0, n_samples - size, max(1, size // 2)))
        for start in [*starts, n_samples - size]:
            if recorded.samples[start : start + size].any():
                yield start, start + size


class _Recording(NamedTuple, Generic[Heard]):
    """A recording, heard."""

    spans: list[tuple[float, float]]
    """Begin and end of each window, in seconds."""
    heard: list[Heard]
    """What was extracted of each."""
    seconds: float
    is_narrowband: bool


def _waveform(source: Source, max_seconds: float) -> Waveform:
    if isinstance(source, Waveform):
        return checked(source, max_seconds=max_seconds)
    if isinstance(source, bytes):
        return decode(source, max_seconds=max_seconds)
    try:
        return decode(read_bytes(Path(source)), max_seconds=max_seconds)
    except AudioError as error:
        raise AudioError(f"{shown_path(source)}: {error}") from error


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
        from marsbench.evaluation.ensembling import average, pool  # brings SciPy's optimisers: half a second

        if self.record.fusion == "mean":
            return average(probabilities)
        return pool(probabilities, np.array([member.weight for member in self.record.members]))
