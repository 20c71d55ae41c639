"""A model with everything that prediction needs: from a recording to class probabilities.

`BaseBundle` reads a recording, cuts a long one into windows and collects the probabilities. `Bundle` extracts
the features and predicts with one model, `EnsembleBundle` with several whose probabilities it fuses.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, SupportsIndex, cast, overload

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import Waveform, resample
from marsbench.deployment.bundle_record import BaseRecord, BundleRecord, EnsembleBundleRecord
from marsbench.deployment.model_format import Predictor
from marsbench.deployment.novelty import Novelty, mean_novelty
from marsbench.deployment.prediction import Prediction, Window, beyond_full_scale
from marsbench.deployment.sources import Source, is_several, waveform_of
from marsbench.errors import BenchError, PluginError
from marsbench.execution.limits import limited_threads
from marsbench.features.clip_versions import names_of, version_of
from marsbench.features.extraction import extracted
from marsbench.plugin.base import Plugin
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.onnx_sharing import shared_runs
from marsbench.plugin.registry import Kind, Recipe, discover

MAX_SECONDS = 3600.0
"""Longest recording that is predicted."""
BATCH = 64
"""Windows predicted at a time."""
_MAX_LENGTH_RATIO = 1.5
"""A recording up to this many times as long as the longest training clip is one window."""

Span = tuple[int, int]
"""First sample of a window and the one after its last, at the recording's rate."""
WindowFeatures = dict[str, Floats]
"""Features of a window, (n_frames, n_dims) or (n_dims,), by the key of their recipe."""


class _Recording(NamedTuple):
    """A recording whose features are extracted."""

    windows: list[tuple[float, float]]
    """Start and end of each, in seconds."""
    features: list[WindowFeatures]
    seconds: float
    is_narrowband: bool
    peak: float


class BaseBundle(ABC):
    """From a recording to probabilities. Subclasses extract features from windows and predict them."""

    record: BaseRecord
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""

    def __repr__(self) -> str:
        return f"<Bundle {self.record.title} on {self.record.corpus.name}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes, in the order of the probabilities."""
        return tuple(self.record.labels)

    @property
    @abstractmethod
    def changed(self) -> tuple[str, ...]:
        """Names of the plugins whose code is not the code that the model was fitted with."""

    @property
    def warning(self) -> str | None:
        """One line that names plugins whose code has changed since the fit; None if none has."""
        if not self.changed:
            return None
        return (
            f"Warning: the code of {', '.join(self.changed)} has changed since the model was fitted. "
            f"Its {len(self.record.golden)} golden clips are predicted as at export (to "
            f"{self.record.tolerance:g}), so it is used."
        )

    @abstractmethod
    def extract(self, recorded: Waveform, spans: Sequence[Span]) -> list[WindowFeatures]:
        """Features of each window of a recording at its own rate; raises PluginError."""

    @abstractmethod
    def probabilities(self, windows: Sequence[WindowFeatures]) -> NDArray[np.float64]:
        """Probability of each class, (n_windows, n_classes).

        Raises:
            PluginError: a model has another number of classes than its record.
        """

    @abstractmethod
    def novelty(self, windows: Sequence[WindowFeatures]) -> NDArray[np.float64] | None:
        """How unlike the training clips each window is, (n_windows,), as `Prediction.novelty`.

        Raises:
            PluginError: features of another shape than in training.
        """

    @overload
    def predict(
        self, source: Source | NDArray[Any], sample_rate: SupportsIndex | float | None = None, *,
        max_seconds: float = MAX_SECONDS,
    ) -> Prediction: ...  # fmt: skip

    @overload
    def predict(
        self, source: Sequence[Any], sample_rate: SupportsIndex | float | None = None, *,
        max_seconds: float = MAX_SECONDS,
    ) -> list[Prediction]: ...  # fmt: skip

    def predict(
        self, source: Any, sample_rate: SupportsIndex | float | None = None, *,
        max_seconds: float = MAX_SECONDS,
    ) -> Prediction | list[Prediction]:  # fmt: skip
        """Probabilities of a recording, or of each in a list.

        A recording more than 1.5 times as long as the longest training clip is cut into windows of the median
        clip's length, each overlapping the next by half; its probabilities are the mean over windows.

        Args:
            source: a path, a file's bytes, a file opened in binary mode (`io.BytesIO` too) that is read from
                where it stands, a `Waveform`, or samples: floats nominally in [-1, 1] or integers of 8 to 32
                bits, (n_samples,), (n_samples, n_channels) or (n_channels, n_samples). A warning says which
                axis was taken for the channels, and another tells of floats far beyond full scale. A list or
                tuple of these is answered with a list.
            sample_rate: of samples, in Hz; they are resampled to the extractor's.
            max_seconds: longest recording accepted.

        Raises:
            AudioError: unreadable, empty, silent, too short, longer than `max_seconds`, samples without their
                rate or of a shape that does not tell the channels, or none of these forms.
            PluginError: the feature extractor fails on it.
        """
        is_list = is_several(source)
        recorded = [
            self._recording(waveform_of(one, sample_rate, max_seconds, self.record.channel))
            for one in (source if is_list else [source])
        ]
        predictions = self._predictions(recorded)
        for prediction in predictions:
            if prediction.is_far_beyond_full_scale:
                warnings.warn(beyond_full_scale(prediction.peak), stacklevel=2)
        return predictions if is_list else predictions[0]

    def predict_each(
        self, sources: Iterable[Source], *, max_seconds: float = MAX_SECONDS
    ) -> Iterator[Prediction | BenchError]:
        """The prediction of each recording, or the error that prevents it; faster than one by one."""
        waiting: list[_Recording | BenchError] = []
        for source in sources:
            try:
                waiting.append(self._recording(waveform_of(source, None, max_seconds, self.record.channel)))
            except BenchError as error:
                waiting.append(error)
            n_windows = sum(len(one.windows) for one in waiting if isinstance(one, _Recording))
            if max(len(waiting), n_windows) >= BATCH:
                yield from self._in_order(waiting)
                waiting = []
        yield from self._in_order(waiting)

    def class_probabilities(self, sources: Iterable[Source]) -> NDArray[np.float64]:
        """Probabilities of recordings, (n_recordings, n_classes); raises BenchError for one without any."""
        found = []
        for one in self.predict_each(sources):
            if isinstance(one, BenchError):
                raise one
            found.append(one.probabilities)
        return np.stack(found)

    def _in_order(self, waiting: list[_Recording | BenchError]) -> Iterator[Prediction | BenchError]:
        predictions = iter(self._predictions([one for one in waiting if isinstance(one, _Recording)]))
        return (next(predictions) if isinstance(one, _Recording) else one for one in waiting)

    def _recording(self, recorded: Waveform) -> _Recording:
        rate = recorded.sample_rate
        spans = list(self._spans(recorded))
        with limited_threads(1):  # as in every fit of a run: the last digits depend on the number of threads
            features = self.extract(recorded, spans)
        needed = min(self.record.sample_rate, self.record.corpus.lowest_sample_rate)
        windows = [(start / rate, end / rate) for start, end in spans]
        return _Recording(windows, features, recorded.seconds, rate < needed, recorded.peak)

    def _spans(self, recorded: Waveform) -> Iterator[Span]:
        """Each window that is not silent."""
        corpus, n_samples = self.record.corpus, len(recorded.samples)
        if recorded.seconds <= _MAX_LENGTH_RATIO * corpus.longest_seconds:
            yield 0, n_samples
            return
        size = round(corpus.median_seconds * recorded.sample_rate)
        starts = list(range(0, n_samples - size, max(1, size // 2)))
        for start in [*starts, n_samples - size]:
            if recorded.samples[start : start + size].any():
                yield start, start + size

    def _predictions(self, recordings: list[_Recording]) -> list[Prediction]:
        if not recordings:
            return []
        features = [window for one in recordings for window in one.features]
        with limited_threads(1):
            rows, found = self.probabilities(features), self.novelty(features)
        novelty: list[float | None] = [None] * len(rows) if found is None else found.tolist()
        spans = (span for one in recordings for span in one.windows)
        windows = (Window(*span, row, one) for span, row, one in zip(spans, rows, novelty, strict=True))
        return [self._prediction(one, tuple(islice(windows, len(one.windows)))) for one in recordings]

    def _prediction(self, recording: _Recording, windows: tuple[Window, ...]) -> Prediction:
        novelty = [window.novelty for window in windows if window.novelty is not None]
        found = Prediction(
            labels=self.labels,
            probabilities=np.mean([window.probabilities for window in windows], axis=0),
            windows=windows,
            seconds=recording.seconds,
            is_narrowband=recording.is_narrowband,
            peak=recording.peak,
            novelty=median(novelty) if novelty else None,
        )
        origin = self.record.origin
        if origin is None or len(windows) > 1 or found.is_unlike:
            return found
        return replace(found, as_sure=origin.as_sure(found.confidence))


@dataclass(frozen=True, repr=False)
class Bundle(BaseBundle):
    """A feature extractor and a model trained on its features."""

    record: BundleRecord
    model: Predictor
    folders: tuple[Path, ...]
    changed: tuple[str, ...] = ()
    measure: Novelty | None = None
    """None if there were too few training clips, or the bundle is an older one."""

    def extract(self, recorded: Waveform, spans: Sequence[Span]) -> list[WindowFeatures]:
        """Features of each window; raises PluginError."""
        return list(self.extracted(recorded, spans))

    def extracted(self, recorded: Waveform, spans: Sequence[Span]) -> Iterator[WindowFeatures]:
        """Features of one window after the other; raises PluginError."""
        resampled, key = resample(recorded, self.record.sample_rate), self.record.features.key
        for span in spans:
            window = {key: extracted(self.extractor, _window(resampled, recorded, span))}
            cut = Waveform(recorded.samples[slice(*span)], recorded.sample_rate)
            for name, version_key in self.averaged.items():
                window[version_key] = extracted(self.extractor, version_of(cut, name))
            yield window

    @property
    def averaged(self) -> dict[str, str]:
        """Keys of features by version that a prediction is the mean over, beside those of the clip."""
        versions = self.record.versions
        names = names_of(versions) if versions and versions.averaged else ()
        return {name: f"{self.record.features.key} {name}" for name in names}

    def probabilities(self, windows: Sequence[WindowFeatures]) -> NDArray[np.float64]:
        """Probability of each class, (n_windows, n_classes); raises PluginError as the base class says."""
        keys = self.record.features.key, *self.averaged.values()
        return np.asarray(np.mean([self._probabilities(windows, key) for key in keys], axis=0))

    def _probabilities(self, windows: Sequence[WindowFeatures], key: str) -> NDArray[np.float64]:
        n_frames = None if self.record.model_format.any_length else self.record.input_shape[0]
        features = [window[key] for window in windows]
        batches = [features[start : start + BATCH] for start in range(0, len(features), BATCH)]
        inputs = (for_model(batch, self.model.accepts, n_frames) for batch in batches)
        rows = np.concatenate([self.model.predict_proba(batch) for batch in inputs])
        if rows.shape[1:] != (len(self.labels),):
            raise PluginError(
                f"{self.record.title} gives {rows.shape[-1]} probabilities for {len(self.labels)} classes"
            )
        return rows

    def novelty(self, windows: Sequence[WindowFeatures]) -> NDArray[np.float64] | None:
        """How unlike the training clips each window is, (n_windows,); raises PluginError."""
        if self.measure is None:
            return None
        return self.measure.of_windows([window[self.record.features.key] for window in windows])

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """The feature extractor; raises PluginError or ConfigError."""
        return cast("FeatureExtractor", make_plugin("features", self.record.features, self.folders))


def make_plugin(kind: Kind, recipe: Recipe, folders: tuple[Path, ...]) -> Plugin:
    """A plugin, changed since the fit or not; raises PluginError: not there; ConfigError: its parameters."""
    return discover(folders).get(kind, recipe.name).plugin.create(recipe.parameters)


def _window(resampled: Waveform, recorded: Waveform, span: Span) -> Waveform:
    """A span of the recording, cut from the resampled one; the last window reaches to its very end."""
    ratio = resampled.sample_rate / recorded.sample_rate
    start, end = round(span[0] * ratio), round(span[1] * ratio)
    if span[1] == len(recorded.samples):
        end = len(resampled.samples)
    return Waveform(resampled.samples[start:end], resampled.sample_rate)


@dataclass(frozen=True, repr=False)
class EnsembleBundle(BaseBundle):
    """Several pipelines whose probabilities are fused."""

    record: EnsembleBundleRecord
    members: tuple[Bundle, ...]
    """In the order of the record's members."""
    folders: tuple[Path, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the members' changed plugins, each once."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.changed))

    def extract(self, recorded: Waveform, spans: Sequence[Span]) -> list[WindowFeatures]:
        """Features of each window for all members.

        Members with equal extractors share them, extractors of one encoder its answer to the same samples.
        """
        members = {(one.record.features.key, *one.averaged): one for one in self.members}.values()
        by_member = [member.extracted(recorded, spans) for member in members]
        windows: list[WindowFeatures] = []
        for _ in spans:
            with shared_runs():
                windows.append({key: array for one in by_member for key, array in next(one).items()})
        return windows

    def probabilities(self, windows: Sequence[WindowFeatures]) -> NDArray[np.float64]:
        """The members' probabilities, fused, (n_windows, n_classes); raises PluginError as a member does."""
        return self.fuse(np.stack([member.probabilities(windows) for member in self.members]))

    def novelty(self, windows: Sequence[WindowFeatures]) -> NDArray[np.float64] | None:
        """The mean over members of different features, (n_windows,); raises PluginError."""
        members = {member.record.features.key: member for member in self.members}.values()
        return mean_novelty(member.novelty(windows) for member in members)

    def fuse(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the members' probabilities, (n_members, n_clips, n_classes), to (n_clips, n_classes)."""
        from marsbench.evaluation.ensembling import average, pool  # SciPy's optimisers take half a second

        if self.record.fusion == "mean":
            return average(probabilities)
        return pool(probabilities, np.array([member.weight for member in self.record.members]))
