"""What a fit comes to, as it is kept in a file.

NumPy is imported late: listing runs needs none of it.
"""

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, PlainSerializer, PlainValidator

from marsbench.evaluation.scores import StoredRecord
from marsbench.plugin.search_space import Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Matrix = NDArray[np.float32]
else:
    _Matrix = Any


def _pack(matrix: _Matrix) -> str:
    """Number of columns, then the values in base64, little-endian, row by row."""
    return f"{matrix.shape[1]}:{b64encode(matrix.astype('<f4').tobytes()).decode()}"


def _unpack(value: object) -> _Matrix:
    """A matrix, or what `_pack` made of one, as float32 (n_rows, n_columns); raises ValueError."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return value.astype(np.float32)
    n_columns, _, values = str(value).partition(":")
    flat = np.frombuffer(b64decode(values, validate=True), "<f4")
    return flat.astype(np.float32).reshape(-1, int(n_columns))


class UnitResult(StoredRecord):
    """Probabilities for one fold's test clips, and how they came about."""

    # A metric that is NaN in some epoch is kept as it is.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    fold: int
    probabilities: Annotated[_Matrix, PlainValidator(_unpack), PlainSerializer(_pack, when_used="json")]
    """Class probabilities of the fold's test clips, float32 (n_clips, n_classes); rows sum to 1."""
    hyperparameters: dict[str, Scalar]
    """The whole configuration, defaults included."""
    n_parameters: int | None
    history: list[dict[str, float]]
    warnings: list[str]
    """What the model's libraries warned of."""
    finished: str
    """UTC, ISO 8601."""
    environment: dict[str, str]
    """Where it was fitted."""
    fit_seconds: float
    predict_seconds: float
    extraction_seconds: float | None = None
    """What one clip's features took from its file on, the median over the corpus."""
    model_bytes: int | None = None
    """Size of the fitted model once saved; None if it was not, or could not be."""


class Failure(StoredRecord):
    """Why a unit, or the extraction before all units, gave nothing."""

    fold: int | None = None
    """None if the features could not be extracted."""
    kind: str
    """Name of the exception, or TimeLimit, MemoryLimit, WorkerDied."""
    message: str
    traceback: str = ""
    """For the plugin's author; empty if no Python code raised."""
    log: str | None = None
    """File of what the unit printed, below the run's folder; None if it printed nothing."""
