"""Corpora, their features and models fitted on a whole corpus, as objects of Python."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from marsbench.api.options import Data, Names, asked_for, places_of, plain
from marsbench.data.audio_validation import OnBad
from marsbench.data.corpus import CheckedCorpus
from marsbench.data.corpus_options import Channel, Reading
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import AnyBundle, Sample, golden_samples, read_bundle, read_samples
from marsbench.deployment.evaluate import Evaluation
from marsbench.deployment.evaluate import evaluate as evaluate_bundle
from marsbench.deployment.export import Target, fit_bundle
from marsbench.deployment.formats import DEFAULT_FORMAT
from marsbench.execution.limits import limited_threads
from marsbench.features.store import FeatureStore
from marsbench.planning.pipelines import make_pipeline
from marsbench.planning.plans import checked_corpus, resolve_datasets
from marsbench.plugin.features import Features
from marsbench.plugin.registry import Registry, discover, drop_in_folders
from marsbench.progress import progress_for


def load_corpus(  # noqa: PLR0913 - one argument an option
    data: Data | Sequence[Data] = "demo",
    *,
    speaker: str | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    map: Mapping[str, str] | str | None = None,  # noqa: A002 - the option's name
    classes: Names | None = None,
    min_clips: int = 1,
    channel: Channel = "mix",
    name: str | None = None,
    bad_audio: OnBad = "skip",
    plugins: Iterable[str | Path] = (),
    verbose: bool = False,
    **parameters: Any,
) -> CheckedCorpus:
    """Load a corpus and check every file of it.

    Args:
        data: a dataset's name, or a path: a folder with one sub-folder for each class, a CSV of path, label
            and perhaps speaker, RAVDESS. Or a data frame of path, label, perhaps speaker and attributes, or a
            `datasets.Dataset` with a column of audio. Several are joined over their common classes.
        speaker: regular expression whose first group, found in a clip's path below the data's folder, is its
            speaker.
        label: the same for its class; folders need not be classes then.
        columns: columns of a table by role, such as `{"path": "Recording", "label": "Emotion"}`; roles are
            path, label, speaker, split, start, end, duration.
        map: new names of classes, such as `{"W": "angry", "boredom": ""}`; equal names join classes, an empty
            one leaves the class out.
        classes: only these classes, in this order.
        min_clips: leave out classes with fewer clips.
        channel: the channel of stereo files that is read; "mix" averages all.
        name: the corpus's name.
        bad_audio: "skip" unusable files, which are listed in the corpus's `bad`, or "fail".
        plugins: folders of plugins beside `./plugins`.
        verbose: print the progress.
        **parameters: those of the dataset, such as `channels="speech"` for RAVDESS.

    Returns:
        The usable clips with `clips`, `labels`, `speakers` and `targets` (class index by clip).

    Raises:
        BenchError: no such dataset or path, an unknown parameter or class, an expression that does not match,
            a class without a usable clip.
    """
    asked: dict[str, Any] = {"speaker": speaker, "label": label, "map": map, "classes": classes}
    asked |= {"columns": columns, "min_clips": min_clips, "channel": channel, "name": name}
    reading = asked_for(Reading, asked, "marsbench.load_corpus")
    registry, found = _registry(plugins), plain(places_of(data))
    places = [str(place) for place in (found if isinstance(found, list) else [found])]
    names = [entry.name for entry, _ in resolve_datasets(registry, places, reading)]
    settings = {f"{name}.{key}": plain(value) for name in names for key, value in parameters.items()}
    return checked_corpus(registry, places, settings, progress_for(verbose), bad_audio, reading)


def clip_table(corpus: CheckedCorpus) -> pd.DataFrame:
    """A table with one row for each clip, in the corpus's order.

    Its columns are clip, label (categorical, in the order of the corpus's classes), speaker, seconds,
    sample_rate, and the attributes of the clips.
    """
    table = pd.DataFrame(
        {
            "clip": [clip.id for clip in corpus.clips],
            "label": pd.Categorical([clip.label for clip in corpus.clips], corpus.labels),
            "speaker": corpus.speakers,
            "seconds": [facts.seconds for facts in corpus.facts],
            "sample_rate": [facts.sample_rate for facts in corpus.facts],
        }
    )
    attributes = dict.fromkeys(name for clip in corpus.clips for name in clip.attributes)
    for name in attributes:
        if name not in table:
            table[name] = [clip.attributes.get(name) for clip in corpus.clips]
    return table


def extract(
    corpus: CheckedCorpus,
    features: str,
    *,
    plugins: Iterable[str | Path] = (),
    verbose: bool = False,
    **parameters: Any,
) -> Features:
    """Features of every clip; they are extracted once and then read from the feature store, also by runs.

    Args:
        corpus: as `load_corpus` gives it.
        features: name of a feature extractor.
        plugins: folders of plugins beside `./plugins`.
        verbose: print the progress.
        **parameters: those of the extractor.

    Returns:
        `values`, float32 (n_clips, n_frames, n_dims) with zeros after each clip's real frames, or
        (n_clips, n_dims); `lengths`, (n_clips,), the number of real frames of each clip.

    Raises:
        BenchError: no such extractor or parameter, or it fails on a clip.
    """
    registry = _registry(plugins)
    store = FeatureStore(registry.get("features", features).recipe(plain(parameters)), registry.folders)
    with limited_threads(1):  # the last digits depend on it, and runs share what is stored
        return store.features_of(corpus, progress_for(verbose)).read(range(len(corpus.clips)))


@dataclass(frozen=True, repr=False)
class Fitted(Bundle):
    """A feature extractor and a model trained on its features."""

    samples: tuple[Sample, ...] = ()
    """Golden clips of the bundle that `save` writes."""

    def save(self, folder: str | Path, form: str = DEFAULT_FORMAT, quantised: str | None = None) -> None:
        """Write a bundle into a folder of its own, verified on one clip per class.

        These clips are part of it, and are predicted again whenever it is loaded. No code in it is executed.

        Args:
            folder: a new one, or that of an older bundle.
            form: format of the model: `plugin` as its plugin saves it, or `keras`, `onnx` or `litert`.
            quantised: number type of smaller weights: `int8` (`onnx`, `litert`) or `float16` (`litert`).

        Raises:
            BenchError: it cannot be written, the folder holds something else, or the check fails.
        """
        target = Target(form, quantised)
        target.require([self.record], discover(self.folders))
        target.write(self, self.samples, Path(folder))


def fit(  # noqa: PLR0913 - one argument an option
    corpus: CheckedCorpus,
    *,
    features: str,
    model: str,
    seed: int = 0,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the option's name
    together: Sequence[str] = (),
    plugins: Iterable[str | Path] = (),
    verbose: bool = False,
) -> Fitted:
    """Fit one pipeline on all clips of a corpus, in this process, as `run` fits it on a fold's training part.

    No clip is left to test it on; `run` estimates its scores. A model that stops early keeps a tenth of the
    clips aside for that.

    Args:
        corpus: what `load_corpus` returned.
        features: name of a feature extractor.
        model: name of a model.
        seed: of training.
        set: parameters of both, by NAME.PARAMETER, such as `{"svm.C": 1.0}`.
        together: attributes such as `["speaker"]`; clips that are equal in all of them stay together where
            the fit holds some clips aside, to stop early or to calibrate probabilities.
        plugins: folders of plugins beside `./plugins`.
        verbose: print progress.

    Raises:
        BenchError: a name or parameter that does not exist, a pair that does not fit.
    """
    registry = _registry(plugins)
    pipeline = make_pipeline(registry, features, model, plain(set or {}))
    progress = progress_for(verbose)
    made = fit_bundle(corpus, pipeline, registry, plain(seed), progress=progress, together=tuple(together))
    samples = tuple(golden_samples(corpus))
    return Fitted(made.record, made.model, made.folders, measure=made.measure, samples=samples)


def load(folder: str | Path, *, plugins: Iterable[str | Path] = ()) -> AnyBundle:
    """Read what `bench export` or `Fitted.save` wrote, and verify it on its golden clips.

    Warns if a plugin's code has changed since the fit.

    Raises:
        BenchError: no bundle there, a damaged file, a missing plugin, or golden clips are predicted otherwise
            than at export.
    """
    bundle = read_bundle(Path(folder), _registry(plugins))
    if bundle.warning:
        warnings.warn(bundle.warning, stacklevel=2)
    return bundle


def evaluate(
    bundle: AnyBundle | str | Path,
    data: CheckedCorpus | Data | Sequence[Data],
    *,
    plugins: Iterable[str | Path] = (),
    verbose: bool = False,
    **parameters: Any,
) -> Evaluation:
    """Score a bundle on labelled clips, beside what its run promised, as `bench evaluate` does.

    Args:
        bundle: what `load` or `fit` returned, or the folder of a bundle.
        data: what `load_corpus` returned, or what it takes.
        plugins: folders of plugins beside `./plugins`.
        verbose: print the progress.
        **parameters: of `load_corpus`, for a name or a path.

    Returns:
        `metrics` with their 95 % intervals, over the classes that both have; `promised`, the scores of the
        bundle's run on these classes, None for a bundle that is not from a run; `inside`, whether the score
        lies in the promised interval; `sentence`, which says so.

    Raises:
        BenchError: as `load` and `load_corpus`; fewer than two classes in common.
    """
    samples: Sequence[Sample] = ()
    if isinstance(bundle, str | Path):
        folder, bundle = Path(bundle), load(bundle, plugins=plugins)
        samples = read_samples(folder, bundle.record)
    elif isinstance(bundle, Fitted):
        samples = bundle.samples
    if not isinstance(data, CheckedCorpus):
        data = load_corpus(data, plugins=plugins, verbose=verbose, **parameters)
    return evaluate_bundle(bundle, data, samples, progress_for(verbose))


def _registry(plugins: Iterable[str | Path]) -> Registry:
    """Plugins that are installed, in `./plugins` or in `plugins`; raises PluginError."""
    return discover(drop_in_folders(Path(folder) for folder in plugins))
