"""`predictions.parquet`: a run's out-of-fold predictions, whose sha256 is kept in `run.json`.

Columns: clip, speaker (null where unknown), fold (from 0), label, and p_CLASS, float32, for each class in the
corpus's order. What is read is what was written, or it is refused.
"""

import io
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from marsbench.atomic_files import write_atomically
from marsbench.errors import DamagedError, ResultsError, first_line
from marsbench.evaluation.predictions import Predictions, flaw_in
from marsbench.results.schema import Run, Standing
from marsbench.results.store import RunFolder

if TYPE_CHECKING:  # takes half a second to import, and reading needs none of it
    import pandas as pd

_REMEDY = "rerun the command that made the run to write it again from its fits"


def write_predictions(folder: RunFolder, run: Run, predictions: Predictions) -> Run:
    """Write a run's predictions; gives the run with their checksum, to be written after them."""
    data = _encoded(predictions)
    write_atomically(folder.predictions, lambda file: file.write(data))
    return run.model_copy(update={"predictions_sha256": sha256(data).hexdigest()})


def read_predictions(folder: RunFolder, run: Standing) -> Predictions:
    """The predictions of a run, whose record is `run`.

    Raises:
        ResultsError: the run is not complete, or was made before predictions had a checksum; the file is
            missing.
        DamagedError: the file is not the one that the run wrote, or holds no predictions of its clips.
    """
    path = folder.predictions
    if run.predictions_sha256 is None:
        why = "its record keeps no checksum of them" if run.metrics else "it is not complete"
        raise ResultsError(f"{run.run_id} has no predictions that can be used: {why}; run it again")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}; {_REMEDY}") from error
    try:
        return _decoded(data, run)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = first_line(error)
        raise DamagedError(f"{path} is damaged: {reason}; {_REMEDY}") from error


def data_frame(predictions: Predictions) -> "pd.DataFrame":
    """Predictions as users get them: a row a clip, columns as in the file."""
    frame: pd.DataFrame = _table(predictions).to_pandas()
    return frame


def _encoded(predictions: Predictions) -> bytes:
    """The file's bytes; equal predictions give equal bytes."""
    table = _table(predictions)
    encodings = dict.fromkeys(table.column_names[len(_FACTS) :], "BYTE_STREAM_SPLIT")
    buffer = io.BytesIO()
    parquet.write_table(
        table,
        buffer,
        compression="zstd",
        use_dictionary=["speaker", "fold", "label"],
        column_encoding=encodings | {"clip": "DELTA_BYTE_ARRAY"},
        write_statistics=False,
        store_schema=False,
    )
    return buffer.getvalue()


_FACTS = (
    pa.field("clip", pa.string(), nullable=False),
    pa.field("speaker", pa.string()),
    pa.field("fold", pa.int64(), nullable=False),
    pa.field("label", pa.string(), nullable=False),
)


def _schema(labels: tuple[str, ...]) -> pa.Schema:
    return pa.schema([*_FACTS, *(pa.field(f"p_{label}", pa.float32(), nullable=False) for label in labels)])


def _table(predictions: Predictions) -> pa.Table:
    columns = [
        list(predictions.clips),
        list(predictions.speakers),
        predictions.folds,
        pa.array(predictions.labels).take(pa.array(predictions.targets)),
        *predictions.probabilities.T,
    ]
    schema = _schema(predictions.labels)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _decoded(data: bytes, run: Standing) -> Predictions:
    """What `_encoded` was given; raises ValueError if it is not, or cannot be the predictions of this run."""
    if sha256(data).hexdigest() != run.predictions_sha256:
        raise ValueError("its checksum is not that in run.json")
    labels = tuple(run.corpus.labels)
    table = parquet.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    if not table.schema.equals(_schema(labels)):
        raise ValueError(f"its columns are not {', '.join(_schema(labels).names)}, or not of their types")
    label = table["label"].combine_chunks().dictionary_encode()
    there = [labels.index(one) if one in labels else -1 for one in label.dictionary.to_pylist()]
    predictions = Predictions(
        clips=tuple(table["clip"].to_pylist()),
        speakers=tuple(table["speaker"].to_pylist()),
        folds=_numbers(table["fold"]),
        targets=np.array(there, np.int64)[np.from_dlpack(label.indices)],
        labels=labels,
        probabilities=np.column_stack([_numbers(table[f"p_{label}"]) for label in labels]),
    )
    if flaw := _flaw_in(predictions, run):
        raise ValueError(flaw)
    return predictions


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column as an array; `to_numpy` imports pandas, which takes longer than reading many files."""
    return np.concatenate([np.from_dlpack(chunk) for chunk in column.chunks])


def _flaw_in(predictions: Predictions, run: Standing) -> str | None:
    """What keeps a table from being the predictions of a run; None if nothing does."""
    n_clips = {fold.fold: fold.n_clips for fold in run.metrics.folds} if run.metrics else {}
    if Counter(predictions.folds.tolist()) != n_clips:
        return "its folds have other numbers of clips than the run's"
    if len(set(predictions.clips)) < len(predictions.clips):
        return "a clip stands in two rows"
    if (predictions.targets < 0).any():
        return "a label is none of the run's classes"
    flaw = flaw_in(predictions.probabilities, (len(predictions.clips), predictions.n_classes))
    return flaw and f"it holds {flaw}"
