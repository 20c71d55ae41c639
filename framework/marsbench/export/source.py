"""Where what is exported comes from: a run, whose configuration is fitted again, or a bundle."""

from pathlib import Path
from typing import NamedTuple

from marsbench.bundle.ensemble import EnsembleBundle
from marsbench.bundle.files import AnyBundle, Sample, read_bundle, read_samples
from marsbench.corpus import CheckedCorpus
from marsbench.errors import ExportError
from marsbench.export.refit import refit, refit_fold
from marsbench.export.refit_ensemble import refit_ensemble, refit_ensemble_fold
from marsbench.export.samples import golden_samples
from marsbench.export.target import Parts, Target
from marsbench.plugin.registry import Registry
from marsbench.progress import Progress
from marsbench.results.store import RunFolder
from marsbench.runner.reopened import corpus_of, members_of


class Source(NamedTuple):
    """A fitted pipeline or ensemble, and clips to check what is written by."""

    bundle: AnyBundle
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

    Of an ensemble, those of its members. `data` is where its corpus is now, None for where it was.

    Raises:
        BenchError: as `members_of`, `corpus_of`, `refit`, `refit_fold` and `Target.require`.
    """
    run = folder.read_run()
    members = [member.read_run() for member in members_of(folder, run)]
    target.require([Parts(member.features.name, member.model.name) for member in members], registry)
    corpus = corpus_of(run, registry, data, progress)
    if run.ensemble is not None:
        bundle: AnyBundle = _of_ensemble(folder, fold, corpus, registry, progress)
    elif fold is None:
        bundle = refit(run, corpus, registry, progress)
    else:
        bundle = refit_fold(folder, fold, corpus, registry, progress).bundle
    return Source(bundle, list(golden_samples(corpus)))


def _of_ensemble(
    folder: RunFolder, fold: int | None, corpus: CheckedCorpus, registry: Registry, progress: Progress
) -> EnsembleBundle:
    if fold is None:
        return refit_ensemble(folder, corpus, registry, progress)
    return refit_ensemble_fold(folder, fold, corpus, registry, progress)


def of_bundle(folder: Path, target: Target, registry: Registry) -> Source:
    """A bundle whose models are as their plugins save them.

    Raises:
        ExportError: it is of another form, or `Target.require` refuses.
        BenchError: as `read_bundle`.
    """
    bundle = read_bundle(folder, registry)
    if bundle.record.form != "plugin":
        raise ExportError(
            f"the model in {folder} is of the form {bundle.record.form} already; export from a bundle made "
            "without --format, or from the run"
        )
    records = [part.record for part in (bundle.members if isinstance(bundle, EnsembleBundle) else [bundle])]
    target.require([Parts(record.features.name, record.model.name) for record in records], registry)
    return Source(bundle, read_samples(folder, bundle.record))
