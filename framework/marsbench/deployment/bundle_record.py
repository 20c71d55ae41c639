"""What `bundle.json` holds: what prediction needs beside the model's own files, and its origin."""

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag

from marsbench.config import Criteria
from marsbench.deployment.model_file import SUFFIXES, Form, Precision
from marsbench.evaluation.criteria import Outcome
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


class BaseRecord(_Record):
    """What every bundle has, whatever answers in it."""

    schema_version: Literal[1] = 1
    labels: list[str]
    """In the order of the probabilities."""
    sample_rate: int
    """In Hz, that audio is resampled to; of an ensemble, the highest of its members'."""
    corpus: TrainingCorpus
    origin: Origin | None = None
    fold: int | None = None
    """Counted from 0: whose training part of the origin's protocol it was fitted on; None for all clips."""
    form: Form = "plugin"
    """Of the model's file; of an ensemble, of each member's."""
    quantised: Precision | None = None
    environment: dict[str, str]
    """Where it was fitted."""
    golden: list[GoldenClip] = []
    files: dict[str, str] = {}
    """sha256 of each other file, by path below the folder."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What answers, in a few words."""

    @property
    def tolerance(self) -> float:
        """Most that a probability may differ from what the golden clips say."""
        if self.quantised:
            return 1e-2
        return 1e-4 if self.form == "litert" else 1e-5


class BundleRecord(BaseRecord):
    """Where a pipeline comes from and what it needs."""

    features: Recipe
    model: Recipe
    hyperparameters: dict[str, Any]
    """The whole configuration, defaults included."""
    input_shape: list[int]
    """Of one clip's features."""
    seed: int

    @property
    def title(self) -> str:
        """The names of its plugins."""
        return f"{self.features.name} + {self.model.name}"

    @property
    def model_path(self) -> str:
        """Where the model is, below the bundle's folder: a folder of its plugin's, or one file."""
        return "model" if self.form == "plugin" else f"emotion_{self.model.name}{SUFFIXES[self.form]}"


class BundledMember(_Record):
    """One of the pipelines of an ensemble, by what is shown of it."""

    title: str
    run_id: str
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """In the fusion: a share of the mean, or an exponent of the logarithmic pool."""


class EnsembleBundleRecord(BaseRecord):
    """Of what pipelines an ensemble consists, each a bundle of its own, and how they are fused."""

    fusion: Literal["mean", "log_pool"]
    members: Annotated[list[BundledMember], Field(min_length=1)]
    """In the order of their folders."""

    @property
    def title(self) -> str:
        """The fusion, and its members by weight."""
        members = sorted(self.members, key=lambda member: -member.weight)
        return f"{self.fusion} of " + ", ".join(f"{one.title} ({one.weight:.2f})" for one in members)


def _kind(values: Any) -> str:
    return "ensemble" if isinstance(values, dict) and "members" in values else "pipeline"


class AnyRecord(RootModel[Any]):
    """What `bundle.json` of either kind holds."""

    root: Annotated[
        Annotated[BundleRecord, Tag("pipeline")] | Annotated[EnsembleBundleRecord, Tag("ensemble")],
        Discriminator(_kind),
    ]
