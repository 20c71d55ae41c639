"""What an export writes: a bundle, with its model in one of several forms, or a pipeline as one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.bundle.bundle import Bundle
from marsbench.bundle.files import Sample, write_bundle
from marsbench.bundle.model_file import Form, Precision
from marsbench.export.end_to_end import TOLERANCE, require_graph
from marsbench.export.model_files import model_file, require_form
from marsbench.export.pipeline_file import write_pipeline
from marsbench.plugin.registry import Entry


@dataclass(frozen=True)
class Target:
    """A bundle, or with `end_to_end` an ONNX file from waveform to probabilities."""

    form: Form = "plugin"
    quantised: Precision | None = None
    end_to_end: bool = False

    def require(self, features: Entry, model: Entry) -> None:
        """Refuse what plugins cannot be written as, before anything is fitted; raises ExportError."""
        if self.end_to_end:
            require_graph(features)
        if self.form != "plugin":
            require_form(model, self.form, self.quantised)

    def write(self, bundle: Bundle, samples: Sequence[Sample], path: Path) -> tuple[Bundle, float]:
        """Write it, and see that it answers `samples` as the bundle does.

        Returns:
            The bundle with the record of what was written, and how far a probability may be off.

        Raises:
            ExportError: it cannot be converted, or answers otherwise.
            ResultsError: it answers otherwise.
            StorageError: it cannot be written.
        """
        if self.end_to_end:
            write_pipeline(bundle, path, samples)
            return bundle, TOLERANCE
        file = None if self.form == "plugin" else model_file(bundle, self.form, self.quantised)
        written = write_bundle(bundle, path, samples, file)
        return written, written.record.tolerance
