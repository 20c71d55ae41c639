"""What a unit leaves behind. Apart from `unit`, so that reading results imports no arrays."""

from pydantic import BaseModel, ConfigDict

from marsbench.plugin.search_space import Scalar


class UnitResult(BaseModel):
    """Probabilities for one fold's test clips, and how they came about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fold: int
    probabilities: list[list[float]]
    """One row a test clip, one column a class."""
    hyperparameters: dict[str, Scalar]
    """The whole configuration, defaults included."""
    n_parameters: int | None
    history: list[dict[str, float]]
    fit_seconds: float
    predict_seconds: float


class Failure(BaseModel):
    """Why a unit, or the extraction before all units, gave nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fold: int | None
    """None if the features could not be extracted."""
    kind: str
    """Name of the exception."""
    message: str
    traceback: str
    """For the plugin's author."""
