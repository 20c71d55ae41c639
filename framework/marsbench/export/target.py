"""What an export writes: a bundle, with its models in one of several forms, or a pipeline as one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from marsbench.bundle.bundle import Bundle
from marsbench.bundle.files import AnyBundle, Sample, write_bundle
from marsbench.bundle.model_file import Form, Precision
from marsbench.bundle.record import BaseRecord
from marsbench.errors import ExportError
from marsbench.export.end_to_end import TOLERANCE, require_graph
from marsbench.export.model_files import model_file, require_form
from marsbench.export.pipeline_file import write_pipeline
from marsbench.plugin.registry import Registry


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
