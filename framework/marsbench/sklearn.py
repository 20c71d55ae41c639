"""Features and models as scikit-learn's estimators.

    from marsbench.sklearn import AudioClassifier, AudioFeatures

    make_pipeline(AudioFeatures("functionals"), StandardScaler(), SVC()).fit(paths, labels)
    AudioClassifier("functionals", "svm").fit(paths, labels, groups=speakers).predict(new_paths)

Recordings, `X`, are a list, an array or a column of paths; or samples with the estimator's `sample_rate`: an
array (n_clips, n_samples), or a list with one for each clip, (n_samples,) or with channels; or `Waveform`s.
"""
# ruff: noqa: N803 - X is scikit-learn's name

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from marsbench.api.corpora import fit
from marsbench.api.options import plain
from marsbench.atomic_files import home, write_atomically
from marsbench.data.audio import MAX_SECONDS, Waveform, decode, read_bytes
from marsbench.data.audio_validation import check_audio, describe_bad
from marsbench.data.compressed import file_key
from marsbench.data.corpus import CheckedCorpus, Clip, Corpus
from marsbench.data.segments import content_of
from marsbench.deployment.sources import waveform_of
from marsbench.errors import BenchError, ConfigError, PluginError
from marsbench.execution.limits import limited_threads
from marsbench.features.extraction import extracted
from marsbench.features.store import Places, stored_places
from marsbench.planning.pipelines import make_pipeline
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.registry import discover, drop_in_folders, make

Recording = Path | Waveform


class InputError(ConfigError, ValueError):
    """What an estimator was given cannot be used; also a ValueError, as scikit-learn raises."""


class _OfRecordings(BaseEstimator):  # type: ignore[misc] # scikit-learn publishes no types
    """Reads recordings from what scikit-learn passes on as X."""

    sample_rate: int | None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inputs = tags.input_tags
        inputs.one_d_array = inputs.string = True
        inputs.two_d_array = False  # not any: rows must be audible waveforms
        return tags

    def _recordings(self, X: Any) -> list[Recording]:
        """Recordings of X; raises InputError."""
        return [self._recording(one, f"X[{row}]") for row, one in enumerate(_rows(X))]

    def _recording(self, one: Any, place: str) -> Recording:
        if isinstance(one, (str, os.PathLike)):
            path = Path(one).expanduser()
            if not path.is_file():
                raise InputError(f"{place}: there is no file {path.absolute()}")
            return path
        if not isinstance(one, (Waveform, np.ndarray, list, tuple)):
            raise InputError(
                f"{place} is {type(one).__name__}: a path, or an array of samples with sample_rate, is needed"
            )
        if isinstance(one, Waveform):
            samples, rate = one.samples, one.sample_rate
        elif self.sample_rate is None:
            name = type(self).__name__
            raise InputError(
                f"{place} is samples without their rate; say it in Hz: {name}(..., sample_rate=16000)"
            )
        else:
            samples, rate = _array(one, place), self.sample_rate
        try:
            return waveform_of(samples, rate, MAX_SECONDS)
        except BenchError as error:
            raise InputError(f"{place}: {error}") from error


def _rows(X: Any) -> Sequence[Any]:
    """One object for each recording of X."""
    if isinstance(X, (str, bytes, os.PathLike, Waveform)) or not hasattr(X, "__len__"):
        raise InputError(f"X is {type(X).__name__}: a list of paths or waveforms is needed")
    rows = X.to_numpy() if hasattr(X, "to_numpy") else X
    if isinstance(rows, np.ndarray) and rows.dtype.kind in "OUT" and rows.ndim == 2:
        if rows.shape[1] != 1:
            raise InputError(f"X has {rows.shape[1]} columns; one of paths or of waveforms is needed")
        rows = rows[:, 0]
    if not len(rows):
        raise InputError("X has no recordings, 0 samples; at least one is needed")
    return cast("Sequence[Any]", rows)


def _array(samples: Any, place: str) -> NDArray[Any]:
    try:
        return np.asarray(samples)
    except ValueError as error:
        raise InputError(f"{place}: its channels have different numbers of samples") from error


class AudioFeatures(TransformerMixin, _OfRecordings):  # type: ignore[misc]
    """Features of recordings by a plugin, float32 (n_clips, n_dims); frames are averaged over time.

    What `bench run` or `marsbench.extract` have extracted from the same files is read from the feature store.
    Nothing is written there; give a `Pipeline` a `memory` where it is fitted more than once.

    Args:
        name: of a feature extractor.
        parameters: of the extractor, by name.
        sample_rate: in Hz, of samples in X; not used for paths and `Waveform`s.
        plugins: folders of plugins beside `./plugins`.

    Attributes:
        n_dims_: number of features, after `fit`. `transform` needs no `fit`.
    """

    def __init__(
        self,
        name: str = "functionals",
        *,
        parameters: Mapping[str, Any] | None = None,
        sample_rate: int | None = None,
        plugins: Sequence[str | Path] = (),
    ) -> None:
        self.name = name
        self.parameters = parameters
        self.sample_rate = sample_rate
        self.plugins = plugins

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Check X and learn the number of features from its first recording; raises as `transform`."""
        self.n_dims_ = self._features(self._recordings(X)[:1]).shape[1]
        return self

    def transform(self, X: Any) -> Floats:
        """Features, float32 (n_clips, n_dims).

        Raises:
            InputError: X is not recordings, a file is missing or cannot be used, samples without their rate.
            BenchError: no such extractor or parameter, or it fails on a clip.
        """
        return self._features(self._recordings(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002
        """Names such as `functionals_0`, object (n_dims,)."""
        check_is_fitted(self, "n_dims_")
        return np.array([f"{self.name}_{number}" for number in range(self.n_dims_)], object)

    def _features(self, recordings: Sequence[Recording]) -> Floats:
        registry = discover(drop_in_folders(map(Path, self.plugins)))
        recipe = registry.get("features", self.name).recipe(plain(self.parameters or {}))
        extractor = cast("FeatureExtractor", make("features", recipe, registry.folders))
        has_paths = any(isinstance(one, Path) for one in recordings)
        known = stored_places(recipe) if has_paths else {}
        with limited_threads(1):  # the last digits depend on it
            rows = [_features_of(one, row, extractor, known) for row, one in enumerate(recordings)]
        if len({len(row) for row in rows}) > 1:
            raise PluginError(f"{self.name} gives different numbers of features for different clips")
        return np.stack(rows)


def _features_of(recording: Recording, row: int, extractor: FeatureExtractor, known: Places) -> Floats:
    """Features of one recording, (n_dims,)."""
    try:
        key, waveform = ("", recording) if isinstance(recording, Waveform) else _read(recording, known)
    except BenchError as error:
        raise InputError(f"X[{row}], {recording}: {error}") from error
    if key in known:
        file, position = known[key]
        array = file.array(position)
    else:
        try:
            array = extracted(extractor, cast("Waveform", waveform))
        except BenchError as error:
            raise PluginError(f"X[{row}]: {error}") from error
    return cast("Floats", for_model([array], "vector", None).values[0])


def _read(path: Path, known: Places) -> tuple[str, Waveform | None]:
    """What a file is known by in the store, as `CheckedCorpus.audio_keys`; its waveform if that is needed."""
    data = read_bytes(path)
    key = file_key(data)
    if key and key in known:
        return key, None
    waveform = decode(data)
    return key or content_of(waveform), waveform


class AudioClassifier(ClassifierMixin, _OfRecordings):  # type: ignore[misc]
    """A feature extractor with a model, fitted as `marsbench.fit` fits it on the same clips in their order.

    Features are kept in the feature store. Samples are written as files for that, below the cache folder.

    Args:
        features: name of a feature extractor.
        model: name of a model.
        set: parameters of both, by NAME.PARAMETER, such as `{"svm.C": 1.0}`.
        sample_rate: in Hz, of samples in X; not used for paths and `Waveform`s.
        random_state: seed of training; an int for the same result each time.
        plugins: folders of plugins beside `./plugins`.

    Attributes:
        classes_: the classes of y in ascending order, (n_classes,).
        bundle_: what was fitted; `bundle_.save(folder)` writes what `bench app` and `bench predict` open.
    """

    def __init__(
        self,
        features: str = "functionals",
        model: str = "svm",
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the option's name
        sample_rate: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        plugins: Sequence[str | Path] = (),
    ) -> None:
        self.features = features
        self.model = model
        self.set = set
        self.sample_rate = sample_rate
        self.random_state = random_state
        self.plugins = plugins

    def fit(self, X: Any, y: ArrayLike, groups: Sequence[Any] | ArrayLike | None = None) -> Self:
        """Fit on labelled recordings.

        Args:
            X: recordings.
            y: class of each, (n_clips,).
            groups: speaker of each, (n_clips,): the recordings of one stay together where the fit holds some
                aside, to stop early or to calibrate probabilities. None if they are not known.

        Raises:
            InputError: as `AudioFeatures.transform`; fewer than two classes.
            BenchError: a name or parameter that does not exist, a pair that does not fit.
        """
        recordings = self._recordings(X)
        if y is None:
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        check_consistent_length(recordings, labels, groups)
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"y has only one class, {classes[0]!s}; at least two are needed")
        registry = discover(drop_in_folders(map(Path, self.plugins)))
        make_pipeline(registry, self.features, self.model, plain(self.set or {}))  # before audio is read
        corpus = _corpus(recordings, [str(one) for one in classes], targets, groups)
        self.classes_ = classes
        self.bundle_ = fit(
            corpus,
            features=self.features,
            model=self.model,
            seed=_seed(self.random_state),
            set=self.set,
            together=() if groups is None else ("speaker",),
            plugins=self.plugins,
        )
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class, (n_clips, n_classes), in the order of `classes_`; raises InputError."""
        check_is_fitted(self, "bundle_")
        rows = []
        for row, answer in enumerate(self.bundle_.predict_each(self._recordings(X))):
            if isinstance(answer, BenchError):
                raise InputError(f"X[{row}]: {answer}") from answer
            rows.append(answer.probabilities)
        return np.stack(rows)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each recording, (n_clips,); raises InputError."""
        probabilities = self.predict_proba(X)
        return cast("NDArray[Any]", self.classes_[probabilities.argmax(axis=1)])


def _seed(random_state: Any) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _corpus(
    recordings: Sequence[Recording], labels: Sequence[str], targets: NDArray[np.int64], groups: Any
) -> CheckedCorpus:
    """The recordings as a corpus in their order; raises InputError for one that cannot be used."""
    speakers = [None] * len(recordings) if groups is None else plain(np.asarray(groups))
    clips = []
    for row, (one, target, speaker) in enumerate(zip(recordings, targets, speakers, strict=True)):
        path = _written(one) if isinstance(one, Waveform) else one
        known = None if speaker is None or speaker != speaker else str(speaker)  # noqa: PLR0124 - NaN
        clips.append(Clip(f"{row:08} {path.name}", path, labels[target], known))
    try:
        corpus = check_audio(Corpus("recordings", tuple(labels), tuple(clips)))
    except BenchError as error:
        raise InputError(str(error)) from error
    if corpus.bad:
        raise InputError(f"X has {describe_bad(corpus.bad)}; repair them or leave them out")
    return corpus


def _written(waveform: Waveform) -> Path:
    """A file with exactly these samples; AU, as WAV files of floats hold the time of writing."""
    path = home() / "tables" / "waveforms" / f"{content_of(waveform)}.au"
    if not path.exists():
        samples, rate = waveform.samples, waveform.sample_rate
        write_atomically(path, lambda file: soundfile.write(file, samples, rate, "FLOAT", format="AU"))
    return path
