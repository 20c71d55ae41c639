"""What `run.json` holds. Pydantic checks it on reading; the version rises when its meaning changes."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from marsbench.evaluation.criteria import Criteria, Grade, Outcome
from marsbench.evaluation.scores import Metrics
from marsbench.evaluation.unit_result import Failure
from marsbench.plugin.registry import Recipe

Status = Literal["complete", "failed"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusRecord(_Record):
    """The corpus a run was made on."""

    name: str
    dataset: Recipe
    """The plugin that made it, with its parameters: where the audio was."""
    fingerprint: str
    labels: list[str]
    """In the order of every array's classes."""
    n_clips: int
    synthetic: bool
    licence: str
    bad_audio: dict[str, str]
    """Reason by clip that was left out."""
    notes: list[str]


class ProtocolRecord(_Record):
    """The protocol a run was made under."""

    name: str
    hash: str
    by_speaker: bool
    n_folds: int
    notes: list[str]


class Run(_Record):
    """One run: configuration, origin and result."""

    schema_version: Literal[1] = 1
    run_id: str
    status: Status
    finished: str
    """UTC, ISO 8601."""
    corpus: CorpusRecord
    protocol: ProtocolRecord
    features: Recipe
    model: Recipe
    settings: dict[str, Any]
    """Parameters set by hand, as NAME.PARAMETER."""
    seed: int
    hyperparameters: list[dict[str, Any]]
    """Whole configuration by fold."""
    criteria: Criteria
    metrics: Metrics | None
    """None unless every fold is there."""
    grades: list[Grade]
    verdict: Outcome | None
    failures: list[Failure]
    warnings: list[str]
    """What the model's libraries warned of, each once."""
    fit_seconds: float
    predict_seconds: float
    n_parameters: int | None
    environment: dict[str, str]
    """Where its units were fitted; values that differ between them stand side by side."""
