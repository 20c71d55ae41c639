"""Where what is exported comes from: a run, whose configuration is fitted again, or a bundle."""

from pathlib import Path
from typing import NamedTuple

from marsbench.bundle.bundle import Bundle
from marsbench.bundle.files import Sample, read_bundle, read_samples
from marsbench.errors import ExportError
from marsbench.export.refit import refit, refit_fold
from marsbench.export.samples import golden_samples
from marsbench.export.target import Target
from marsbench.plugin.registry import Registry
from marsbench.progress import Progress
from marsbench.results.store import RunFolder
from marsbench.runner.reopened import corpus_of, refuse_ensemble


class Source(NamedTuple):
    """A fitted pipeline, and clips to check what is written by."""

    bundle: Bundle
    samples: list[Sample]


def of_run(
    folder: RunFolder,
    data: str | None,
    fold: int | None,
    target: Target,
    registry: Registry,
    progress: Progress,
) -> Source:
    """A run's configuration, fitted on all clips of its corpus or as in its fold number `fold`, from 1.

    `data` is where its corpus is now, None for where it was.

    Raises:
        BenchError: as `corpus_of`, `refit`, `refit_fold` and `Target.require`.
    """
    run = folder.read_run()
    refuse_ensemble(run)
    target.require(registry.get("features", run.features.name), registry.get("models", run.model.name))
    corpus = corpus_of(run, registry, data, progress)
    if fold is None:
        bundle = refit(run, corpus, registry, progress)
    else:
        bundle = refit_fold(folder, fold, corpus, registry, progress)
    return Source(bundle, list(golden_samples(corpus)))


def of_bundle(folder: Path, target: Target, registry: Registry) -> Source:
    """A bundle whose model is as its plugin saves it.

    Raises:
        ExportError: it is of another form, or `Target.require` refuses.
        BenchError: as `read_bundle`.
    """
    bundle = read_bundle(folder, registry)
    record = bundle.record
    if record.form != "plugin":
        raise ExportError(
            f"the model in {folder} is of the form {record.form} already; export from a bundle made without "
            "--format, or from the run"
        )
    target.require(registry.get("features", record.features.name), registry.get("models", record.model.name))
    return Source(bundle, read_samples(folder, record))
