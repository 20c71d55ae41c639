"""A finished run opened again: its corpus, its folds, and its fits, which can be made once more."""

from collections.abc import Sequence

from marsbench.corpus import CheckedCorpus
from marsbench.datasets import resolve_dataset
from marsbench.errors import ResultsError
from marsbench.experiment import parse_experiment
from marsbench.planning import checked_corpus, make_pipeline
from marsbench.plugin.registry import Registry
from marsbench.progress import Progress, Silent
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.fold import Fold
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.units import Units
from marsbench.tuning.search_space import Configuration


def corpus_of(
    run: Run, registry: Registry, data: str | None = None, progress: Progress | None = None
) -> CheckedCorpus:
    """The corpus that a run was made on.

    Args:
        run: the run.
        registry: where its dataset's plugin is.
        data: a dataset's name or a path, where the corpus is now; None for where it was.
        progress: told what is under way.

    Raises:
        ResultsError: what is there now is another corpus.
        BenchError: it is not there.
    """
    dataset = run.corpus.dataset
    entry, fixed = resolve_dataset(registry, data or dataset.name)
    parameters = dataset.parameters if entry.name == dataset.name else {}
    settings = {f"{entry.name}.{name}": value for name, value in parameters.items() if name not in fixed}
    corpus = checked_corpus(registry, data or dataset.name, settings, progress or Silent())
    if corpus.fingerprint != run.corpus.fingerprint:
        raise ResultsError(
            f"the corpus '{corpus.name}' is not the one that {run.run_id} was made on: it has "
            f"{len(corpus.clips)} clips of fingerprint {corpus.fingerprint[:8]}, not {run.corpus.n_clips} of "
            f"{run.corpus.fingerprint[:8]}; name that one with --data"
        )
    return corpus


def refuse_ensemble(run: Run) -> None:
    """Raise ResultsError if the run has no fits of its own, naming those that have."""
    if run.ensemble is not None:
        members = ", ".join(member.run_id for member in run.ensemble.members)
        raise ResultsError(
            f"{run.run_id} is an ensemble, not one model that could be fitted again; "
            f"take one of its members: {members}"
        )


def units_of(run: Run, corpus: CheckedCorpus, registry: Registry, folds: Sequence[Fold] = ()) -> Units:
    """The fits of a complete run, whose plugins are still what they were.

    Raises:
        ResultsError: the run is not complete, is an ensemble, or a plugin has changed since.
        BenchError: a plugin is not there.
    """
    refuse_ensemble(run)
    if run.metrics is None:
        raise ResultsError(f"{run.run_id} is not complete: what it is worth is not known")
    pipeline = make_pipeline(registry, run.features.name, run.model.name, run.settings)
    for now, then in ((pipeline.features, run.features), (pipeline.model, run.model)):
        if now.source != then.source:
            raise ResultsError(
                f"{now.name} has changed since {run.run_id} was made; run it again and take the new run"
            )
    return Units(corpus, pipeline, run.seed, run.protocol.by_speaker, folds, registry.folders)


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
        (word,) = parse_experiment(folder.read_plan().experiment, str(folder.path)).protocol
    protocol = apply_protocol(word, corpus)
    if protocol.hash != run.protocol.hash:
        raise ResultsError(f"{word} is no longer the protocol that {run.run_id} was made under")
    return protocol.folds
