"""A bundle's pipeline, feature extraction included, as one ONNX file."""

from collections.abc import Iterable
from pathlib import Path

from marsbench.audio import resample
from marsbench.bundle.bundle import Bundle
from marsbench.bundle.files import Sample
from marsbench.export.end_to_end import end_to_end
from marsbench.files import write_atomically


def write_pipeline(bundle: Bundle, path: Path, samples: Iterable[Sample]) -> None:
    """Write one file from raw waveform to probabilities, which numpy and onnxruntime are enough to run.

    Raises:
        ExportError: it cannot be converted, or answers `samples` otherwise than the bundle does.
        StorageError: it cannot be written.
    """
    record = bundle.record
    clips = [resample(sample.waveform, record.sample_rate).samples for sample in samples]
    facts = {"corpus": record.corpus.name, "licence": record.corpus.licence}
    if record.origin is not None:
        facts["run"] = record.origin.run_id
    data = end_to_end(bundle.extractor, bundle.model, bundle.labels, clips, facts).SerializeToString()
    write_atomically(path, lambda file: file.write(data))
