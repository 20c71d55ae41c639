"""Corpora and their features as objects of Python."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from marsbench.data.audio_validation import OnBad
from marsbench.data.corpus import CheckedCorpus
from marsbench.execution.threads import limited_threads
from marsbench.features.store import FeatureStore
from marsbench.planning import checked_corpus, resolve_dataset
from marsbench.plugin.features import Features
from marsbench.plugin.registry import Registry, discover, drop_in_folders
from marsbench.progress import progress_for


def load_corpus(
    data: str | Path = "demo",
    *,
    bad_audio: OnBad = "skip",
    plugins: Iterable[str | Path] = (),
    verbose: bool = False,
    **parameters: Any,
) -> CheckedCorpus:
    """Load a corpus and check every file of it.

    Args:
        data: a dataset's name, or a path: a folder with one sub-folder for each class, a CSV of path, label
            and perhaps speaker, RAVDESS.
        bad_audio: "skip" unusable files, which are listed in the corpus's `bad`, or "fail".
        plugins: folders of plugins beside `./plugins`.
        verbose: print the progress.
        **parameters: those of the dataset, such as `channels="speech"` for RAVDESS.

    Returns:
        The usable clips with `clips`, `labels`, `speakers` and `targets` (class index by clip).

    Raises:
        BenchError: no such dataset or path, an unknown parameter, a class without a usable clip.
    """
    registry = registry_of(plugins)
    name = resolve_dataset(registry, str(data))[0].name
    settings = {f"{name}.{parameter}": value for parameter, value in parameters.items()}
    return checked_corpus(registry, str(data), settings, progress_for(verbose), bad_audio)


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
    registry = registry_of(plugins)
    store = FeatureStore(registry.get("features", features).recipe(parameters), registry.folders)
    with limited_threads(1):  # the last digits depend on it, and runs share what is stored
        return store.features_of(corpus, progress_for(verbose)).read(range(len(corpus.clips)))


def registry_of(plugins: Iterable[str | Path]) -> Registry:
    """Plugins that are installed, in `./plugins` or in `plugins`; raises PluginError."""
    return discover(drop_in_folders(Path(folder) for folder in plugins))
