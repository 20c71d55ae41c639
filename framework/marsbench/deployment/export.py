"""Where what is exported comes from: a run, whose configuration is fitted again, or a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle, EnsembleBundle
from marsbench.deployment.bundle_files import (
    AnyBundle,
    Sample,
    golden_samples,
    read_bundle,
    read_samples,
    write_bundle,
)
from marsbench.deployment.bundle_record import BaseRecord
from marsbench.deployment.model_file import Form, Precision
from marsbench.deployment.model_files import model_file, require_form
from marsbench.deployment.onnx_pipeline import TOLERANCE, require_graph, write_pipeline
from marsbench.deployment.refit import refit, refit_fold
from marsbench.deployment.refit_ensemble import refit_ensemble, refit_ensemble_fold
from marsbench.errors import ExportError
from marsbench.plugin.registry import Registry
from marsbench.progress import Progress
from marsbench.results.store import RunFolder
from marsbench.runner.reload import corpus_of, members_of


class Parts(NamedTuple):
    """The plugins of a pipeline, by name."""

    features: str
    model: str


class Written(NamedTuple):
    """What was written."""

    record: BaseRecord
    tolerance: float
    """How far a probability may be off what the bundle in memory answers."""


@dataclass(frozen=True)
class Target:
    """A bundle, or with `end_to_end` an ONNX file from waveform to probabilities."""

    form: Form = "plugin"
    quantised: Precision | None = None
    end_to_end: bool = False

    def require(self, pipelines: Sequence[Parts], registry: Registry) -> None:
        """Refuse what cannot be written, before anything is fitted.

        Args:
            pipelines: one, or the members of an ensemble.
            registry: where their plugins are.

        Raises:
            ExportError: one cannot be written in this form, or several were to go into one file.
            PluginError: a plugin is not there.
        """
        if self.end_to_end and len(pipelines) > 1:
            raise ExportError(_not_one_file(len(pipelines)))
        for number, pipeline in enumerate(pipelines, 1):
            try:
                self._require_one(pipeline, registry)
            except ExportError as error:
                if len(pipelines) == 1:
                    raise
                title = f"{pipeline.features} + {pipeline.model}"
                raise ExportError(f"member {number} of the ensemble, {title}: {error}") from error

    def _require_one(self, pipeline: Parts, registry: Registry) -> None:
        features, model = registry.get("features", pipeline.features), registry.get("models", pipeline.model)
        if self.end_to_end:
            require_graph(features)
        if self.form != "plugin":
            require_form(model, self.form, self.quantised)

    def write(self, bundle: AnyBundle, samples: Sequence[Sample], path: Path) -> Written:
        """Write it, and see that it answers `samples` as the bundle does.

        Raises:
            ExportError: it cannot be converted, or answers otherwise.
            ResultsError: it answers otherwise.
            StorageError: it cannot be written.
        """
        if self.end_to_end:
            if not isinstance(bundle, Bundle):
                raise ExportError(_not_one_file(len(bundle.members)))
            write_pipeline(bundle, path, samples)
            return Written(bundle.record, TOLERANCE)
        as_file = (
            None if self.form == "plugin" else partial(model_file, form=self.form, quantised=self.quantised)
        )
        record = write_bundle(bundle, path, samples, as_file)
        return Written(record, record.tolerance)


def _not_one_file(n_members: int) -> str:
    return (
        f"an ensemble of {n_members} pipelines cannot be one file; leave --end-to-end out for a bundle with "
        "an ONNX file of each model, or export its members one by one"
    )


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
