"""A finished run opened again: its corpus, its folds, and its fits, which can be made once more."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Experiment, Places, each_place
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import BenchError, CorpusError, ResultsError, unknown
from marsbench.evaluation.predictions import Predictions
from marsbench.planning.pipelines import Pipeline, make_pipeline
from marsbench.planning.plans import (
    Source,
    checked_sources,
    listed_sources,
    resolve_datasets,
)
from marsbench.plugin.registry import Registry
from marsbench.progress import Progress, Silent
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.protocol import Fold
from marsbench.protocols.splitting import value_of
from marsbench.results.predictions import read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_run
from marsbench.runner.pipeline_job import Units
from marsbench.tuning.search_space import Configuration

_SAME = 1e-5
"""Largest difference of a probability between two fits that count as equal."""


def corpus_of(
    run: Run, registry: Registry, data: Places = None, progress: Progress | None = None
) -> CheckedCorpus:
    """The corpus that a run was made on.

    Args:
        run: the run.
        registry: where its dataset's plugin is.
        data: a dataset's name or a path, where the corpus is now, one for each that was joined; None for
            where it was.
        progress: told what is under way.

    Raises:
        ResultsError: what is there now is another corpus.
        BenchError: it is not there.
    """
    sources = _sources(run, registry, data)
    try:
        corpus = checked_sources(sources, progress or Silent(), reading=run.corpus.reading)
    except CorpusError as error:
        moved = "" if data else "; if the corpus was moved, name the run and its place: RUN --data PATH"
        moved += " (once for each corpus)" if run.corpus.joined and moved else ""
        raise CorpusError(f"the corpus of {run.run_id}: {error}{moved}") from error
    if held_out := set(run.corpus.held_out):
        corpus = corpus.without({row for row, clip in enumerate(corpus.clips) if clip.id in held_out})
    if corpus.fingerprint != run.corpus.fingerprint:
        raise ResultsError(
            f"the corpus '{corpus.name}' is not the one that {run.run_id} was made on: it has "
            f"{len(corpus.clips)} clips of fingerprint {corpus.fingerprint[:8]}, not {run.corpus.n_clips} of "
            f"{run.corpus.fingerprint[:8]}; name that one with --data"
        )
    return corpus


def _sources(run: Run, registry: Registry, data: Places) -> list[Source]:
    """Where the clips of a run's corpus are, `data` if it was moved.

    Raises:
        ResultsError: it is joined of other numbers of corpora than are named.
        BenchError: no such dataset or path.
    """
    datasets, places = run.corpus.datasets, each_place(data)
    if run.corpus.joined and (not places or places == (run.corpus.name,)):
        return [Source(registry.get("datasets", one.name), one.parameters) for one in datasets]
    places = places or (datasets[0].name,)
    if len(places) != len(datasets):
        names = ", ".join(dataset.name for dataset in datasets)
        raise ResultsError(
            f"{run.run_id} was made on {len(datasets)} corpora ({names}), and --data names {len(places)}: "
            "give it once for each, or leave it out if they are where they were"
        )
    found = resolve_datasets(registry, places, run.corpus.reading)
    own = {dataset.name: dataset.parameters for dataset in datasets}
    return [Source(entry, own.get(entry.name, {}) | fixed, fixed.get("root")) for entry, fixed in found]


def values_of(
    run: Run, predictions: Predictions, attribute: str, registry: Registry, data: Places = None
) -> list[str | None]:
    """The value of an attribute for each predicted clip, None where unknown; no audio is opened.

    Args:
        run: the run.
        predictions: its predictions.
        attribute: `speaker`, `label`, or the name of an attribute of clips.
        registry: where its dataset's plugin is.
        data: a dataset's name or a path, where the corpus is now, one for each that was joined; None for
            where it was.

    Raises:
        ResultsError: the corpus is not there, is another one, or has no such attribute.
    """
    try:
        clips = listed_sources(_sources(run, registry, data), run.corpus.reading).clips
        listed = {clip.id: clip for clip in clips}
    except BenchError as error:
        raise ResultsError(f"attributes are read from the corpus: {error} (--data names it)") from error
    truth = zip(predictions.clips, predictions.targets, predictions.speakers, strict=True)
    for name, target, speaker in truth:
        clip = listed.get(name)
        if clip is None or (clip.label, clip.speaker) != (predictions.labels[target], speaker):
            raise ResultsError(
                f"the corpus '{run.corpus.name}' is not the one that {run.run_id} was made on: clip {name} "
                "is missing or has another label or speaker; name that one with --data"
            )
    values = [value_of(listed[name], attribute) for name in predictions.clips]
    if attribute == "clip" or not any(value is not None for value in values):
        known = {"label", *({"speaker"} if any(predictions.speakers) else ())}
        known |= {key for name in predictions.clips for key in listed[name].attributes}
        raise ResultsError(unknown("attribute", attribute, known))
    return values


def members_of(folder: RunFolder, run: Run) -> list[RunFolder]:
    """The runs that an ensemble was made of, in the order of its record; of any other run, itself.

    They lie beside it, or where its plan says.

    Raises:
        ResultsError: one is not there any more.
    """
    if run.ensemble is None:
        return [folder]
    ids = [member.run_id for member in run.ensemble.members]
    planned = (folder.read_plan().fusion or {}).get("runs", ids) if folder.is_planned else ids
    results = folder.path.absolute().parent.parent.parent
    return [_member(folder, results, *names) for names in zip(ids, planned, strict=True)]


def _member(folder: RunFolder, results: Path, run_id: str, planned: str) -> RunFolder:
    beside = RunFolder(folder.path.parent / run_id)
    if beside.is_finished:
        return beside
    try:
        return find_run(results, planned)
    except ResultsError as error:
        raise ResultsError(f"a member of {folder.path.name} is not there any more: {error}") from error


def require_complete(run: Run) -> None:
    """Raise ResultsError if a fold failed."""
    if run.metrics is None:
        raise ResultsError(f"{run.run_id} is not complete: what it is worth is not known")


def units_of(run: Run, corpus: CheckedCorpus, registry: Registry, folds: Sequence[Fold] = ()) -> Units:
    """The fits of a complete run of one pipeline, with its plugins as they are now.

    Raises:
        ResultsError: the run is not complete.
        BenchError: a plugin is missing, or has other parameters than it had.
    """
    require_complete(run)
    chosen = run.settings, run.normalise, run.versions
    pipeline = make_pipeline(registry, run.features.name, run.model.name, *chosen)
    return Units(corpus, pipeline, run.seed, run.protocol.kept_together, folds, registry.folders)


def changed_plugins(run: Run, pipeline: Pipeline, progress: Progress) -> list[str]:
    """Names of a pipeline's plugins whose code is not the code of the run; `progress` is warned of them."""
    pairs = (pipeline.features, run.features), (pipeline.model, run.model)
    changed = [now.name for now, then in pairs if now.source != then.source]
    if changed:
        progress.say(
            f"Warning: the code of {', '.join(changed)} has changed since {run.run_id}; "
            "it is fitted with the code of today."
        )
    return changed


def compare_with_run(
    folder: RunFolder,
    fold: int,
    clips: Sequence[str],
    probabilities: NDArray[np.floating],
    progress: Progress,
    *,
    always: bool = False,
) -> None:
    """Tell whether a fold that was fitted again gives its test clips the recorded probabilities.

    Args:
        folder: of the run.
        fold: number of the fold, from 0.
        clips: ids of its test clips.
        probabilities: of these clips by the new fit, (n_clips, n_classes).
        progress: told of a difference.
        always: whether it is also told that there is none.
    """
    what = f"Fold {fold + 1} of {folder.path.name}, fitted again,"
    try:
        recorded = read_predictions(folder, folder.read_run()).of_clips(clips)
    except ResultsError as error:
        progress.say(f"{what} cannot be compared with the recorded predictions: {error}")
        return
    difference = float(np.abs(probabilities - recorded.probabilities).max())
    found = f"the recorded predictions (largest difference {difference:.1e})"
    if difference > _SAME:
        progress.say(f"{what} does not reproduce {found}: code, versions or machine have changed.")
    elif always:
        progress.say(f"{what} reproduces {found}.")


def chosen_by(run: Run, fold: int) -> Configuration:
    """What tuning chose in one fold."""
    folds = run.tuning.folds if run.tuning else []
    return next((dict(tuned.configuration) for tuned in folds if tuned.fold == fold), {})


def folds_of(folder: RunFolder, run: Run, corpus: CheckedCorpus) -> tuple[Fold, ...]:
    """Those of the run's protocol.

    Raises:
        ResultsError: the protocol is no longer what it was.
        BenchError: its file is gone.
    """
    word = run.protocol.name
    if folder.is_planned:  # a published run is not: there is no more than `run.json` of it
        (word,) = Experiment.parse(folder.read_plan().experiment, str(folder.path)).protocol
    protocol = apply_protocol(word, corpus)
    if protocol.hash != run.protocol.hash:
        raise ResultsError(f"{word} is no longer the protocol that {run.run_id} was made under")
    return protocol.folds
