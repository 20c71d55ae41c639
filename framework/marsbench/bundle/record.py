"""What `bundle.json` holds: what prediction needs beside the model's own files, and its origin."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from marsbench.bundle.model_file import SUFFIXES, Form, Precision
from marsbench.evaluation.criteria import Criteria, Outcome
from marsbench.evaluation.scores import Metrics
from marsbench.plugin.registry import Recipe


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingCorpus(_Record):
    """The clips that the model was trained on."""

    name: str
    fingerprint: str
    n_clips: int
    """Trained on, those kept aside for early stopping included."""
    longest_seconds: float
    median_seconds: float
    lowest_sample_rate: int
    """Of its files, in Hz."""
    synthetic: bool
    licence: str


class Origin(_Record):
    """The run that told what the pipeline is worth; its models are not this one."""

    run_id: str
    protocol: str
    protocol_hash: str
    by_speaker: bool
    criteria: Criteria
    metrics: Metrics
    verdict: Outcome
    pass_probability: float | None


class GoldenClip(_Record):
    """A clip with what the model must say to it, on any machine."""

    file: str
    """Below the bundle's folder."""
    clip: str
    """Its id in the corpus."""
    label: str
    probabilities: list[float]


class BundleRecord(_Record):
    """Where a bundle comes from and what it needs."""

    schema_version: Literal[1] = 1
    features: Recipe
    model: Recipe
    hyperparameters: dict[str, Any]
    """The whole configuration, defaults included."""
    labels: list[str]
    """In the order of the probabilities."""
    sample_rate: int
    """In Hz; audio is resampled to it."""
    input_shape: list[int]
    """Of one clip's features."""
    corpus: TrainingCorpus
    origin: Origin | None = None
    fold: int | None = None
    """Counted from 0: whose training part of the origin's protocol it was fitted on; None for all clips."""
    form: Form = "plugin"
    """Of the model's file."""
    quantised: Precision | None = None
    seed: int
    environment: dict[str, str]
    """Where it was fitted."""
    golden: list[GoldenClip] = []
    files: dict[str, str] = {}
    """sha256 of each other file, by path below the folder."""

    @property
    def tolerance(self) -> float:
        """Most that a probability may differ from what the golden clips say."""
        if self.quantised:
            return 1e-2
        return 1e-4 if self.form == "litert" else 1e-5

    @property
    def model_path(self) -> str:
        """Where the model is, below the bundle's folder: a folder of its plugin's, or one file."""
        return "model" if self.form == "plugin" else f"emotion_{self.model.name}{SUFFIXES[self.form]}"
