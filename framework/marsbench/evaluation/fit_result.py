"""What a unit leaves behind. Apart from `unit`, so that reading results imports no arrays."""

from pydantic import BaseModel, ConfigDict

from marsbench.plugin.search_space import Scalar


class UnitResult(BaseModel):
    """Probabilities for one fold's test clips, and how they came about."""

    # A metric that is NaN in some epoch is kept as it is.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    fold: int
    probabilities: list[list[float]]
    """One row a test clip, one column a class."""
    hyperparameters: dict[str, Scalar]
    """The whole configuration, defaults included."""
    n_parameters: int | None
    history: list[dict[str, float]]
    warnings: list[str]
    """What the model's libraries warned of, a solver that did not converge, say."""
    finished: str
    """UTC, ISO 8601."""
    environment: dict[str, str]
    """Where it was fitted."""
    fit_seconds: float
    predict_seconds: float
    extraction_seconds: float | None = None
    """What one clip's features took from its file on, the median over the corpus."""
    model_bytes: int | None = None
    """Size of the fitted model once saved; None if it was not, a draft's say, or could not be."""


class Failure(BaseModel):
    """Why a unit, or the extraction before all units, gave nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fold: int | None = None
    """None if the features could not be extracted."""
    kind: str
    """Name of the exception, or TimeLimit, MemoryLimit, WorkerDied."""
    message: str
    traceback: str = ""
    """For the plugin's author; empty if no Python code raised."""
    log: str | None = None
    """File of what the unit printed, below the run's folder; None if it printed nothing."""
