"""Export: a run, whose configuration is fitted again, or a bundle becomes a bundle or one ONNX file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.deployment.bundle import EnsembleBundle
from marsbench.deployment.bundle_files import (
    AnyBundle,
    Sample,
    golden_samples,
    read_bundle,
    read_samples,
    write_bundle,
)
from marsbench.deployment.bundle_record import BaseRecord
from marsbench.deployment.formats import DEFAULT_FORMAT
from marsbench.deployment.model_format import find_format
from marsbench.deployment.onnx_pipeline import TOLERANCE, require_graph, write_pipeline
from marsbench.deployment.refit import Refit
from marsbench.errors import ExportError
from marsbench.plugin.registry import Registry
from marsbench.progress import Progress
from marsbench.results.store import RunFolder
from marsbench.runner.reload import corpus_of, members_of


@dataclass(frozen=True)
class Target:
    """A bundle, or with `end_to_end` one ONNX file from waveform to probabilities."""

    form: str = DEFAULT_FORMAT
    """Name of the model's format."""
    quantised: str | None = None
    """Number type of its weights; None: as trained."""
    end_to_end: bool = False

    @property
    def tolerance(self) -> float:
        """Largest difference of a probability from the bundle in memory; raises ExportError."""
        return TOLERANCE if self.end_to_end else find_format(self.form).tolerance_of(self.quantised)

    def require(self, pipelines: Sequence[tuple[str, str]], registry: Registry) -> None:
        """Refuse what cannot be written, before anything is fitted.

        Args:
            pipelines: names of feature extractor and model; several are the members of an ensemble.
            registry: where their plugins are.

        Raises:
            ExportError: one cannot be written in this format, or several were to be one file.
            PluginError: a plugin is not there.
        """
        if self.end_to_end and len(pipelines) > 1:
            raise ExportError(_not_one_file(len(pipelines)))
        for number, (features, model) in enumerate(pipelines, 1):
            try:
                if self.end_to_end:
                    require_graph(registry.get("features", features))
                find_format(self.form).require(registry.get("models", model), self.quantised)
            except ExportError as error:
                if len(pipelines) == 1:
                    raise
                title = f"{features} + {model}"
                raise ExportError(f"member {number} of the ensemble, {title}: {error}") from error

    def write(self, bundle: AnyBundle, samples: Sequence[Sample], path: Path) -> BaseRecord:
        """Write it, check that it predicts `samples` as the bundle does, and return its record.

        Raises:
            ExportError: it cannot be converted, or predicts otherwise.
            ResultsError: it predicts otherwise.
            StorageError: it cannot be written.
        """
        if not self.end_to_end:
            return write_bundle(bundle, path, samples, self.form, self.quantised)
        if isinstance(bundle, EnsembleBundle):
            raise ExportError(_not_one_file(len(bundle.members)))
        write_pipeline(bundle, path, samples)
        return bundle.record


def _not_one_file(n_members: int) -> str:
    return (
        f"an ensemble of {n_members} pipelines cannot be one file; leave --end-to-end out for a bundle with "
        "an ONNX file of each model, or export its members one by one"
    )


Source = tuple[AnyBundle, list[Sample]]
"""A fitted pipeline or ensemble, and clips by which to verify what is written."""


def source_of_run(
    folder: RunFolder,
    data: str | None,
    fold: int | None,
    target: Target,
    registry: Registry,
    progress: Progress,
) -> Source:
    """Fit a run's configuration, or those of an ensemble's members, again.

    Args:
        folder: of a complete run or ensemble.
        data: name or path of its corpus now; None for where it was.
        fold: number of the fold, from 1, whose training part is fitted on; None for all clips.
        target: what is to be written.
        registry: where the plugins are.
        progress: told what is under way.

    Raises:
        BenchError: as `members_of`, `Target.require`, `corpus_of` and `Refit.bundle`.
    """
    run = folder.read_run()
    members = [member.read_run() for member in members_of(folder, run)]
    target.require([(member.features.name, member.model.name) for member in members], registry)
    corpus = corpus_of(run, registry, data, progress)
    bundle = Refit(corpus, registry, progress).bundle(folder, fold)
    return bundle, list(golden_samples(corpus))


def source_of_bundle(folder: Path, target: Target, registry: Registry, progress: Progress) -> Source:
    """Read a bundle whose model is in its plugin's own format; `progress` is told its warning.

    Raises:
        ExportError: it is of another format, or `Target.require` refuses.
        BenchError: as `read_bundle`.
    """
    bundle = read_bundle(folder, registry, progress)
    if bundle.record.form != DEFAULT_FORMAT:
        raise ExportError(
            f"the model in {folder} is in the format '{bundle.record.form}'; export from the run, or from a "
            "bundle made without --format"
        )
    records = [part.record for part in (bundle.members if isinstance(bundle, EnsembleBundle) else [bundle])]
    target.require([(record.features.name, record.model.name) for record in records], registry)
    return bundle, read_samples(folder, bundle.record)
