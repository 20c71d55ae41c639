"""The contents of `bundle.json`: what prediction needs beside the model's files, and the model's origin."""

from abc import abstractmethod
from math import prod
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    model_validator,
)

from marsbench.config import Criteria, Versions
from marsbench.data.audio import MAX_SECONDS, RATES
from marsbench.data.corpus_options import Channel
from marsbench.deployment.formats import DEFAULT_FORMAT
from marsbench.deployment.model_format import ModelFormat, find_format
from marsbench.evaluation.by_group import ConfidenceScores, ValueScores
from marsbench.evaluation.metrics import objective_title
from marsbench.evaluation.scores import Metrics, Outcome
from marsbench.features.clip_versions import names_of
from marsbench.plugin.registry import Recipe

_Rate = Annotated[int, Field(ge=RATES.start, lt=RATES.stop)]
_Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]
_Size = Annotated[int, Field(ge=1, le=1 << 24)]
_MAX_VALUES = 1 << 28
"""Values of one clip's features: 1 GiB."""
_MAX_CLASSES, _MAX_FILES, _MAX_MEMBERS = 10_000, 100_000, 100
"""A bundle may be from anyone: bounds keep a changed record from costing hours or gigabytes."""
MAX_WIDTH, MAX_COMPONENTS, MAX_QUANTILES = 16_384, 64, 1001
"""Bounds of the arrays of a `NoveltyRecord`."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingCorpus(_Record):
    """The clips that the model was trained on."""

    name: str
    fingerprint: str
    n_clips: int
    """Including those kept aside for early stopping."""
    longest_seconds: _Seconds
    median_seconds: _Seconds
    lowest_sample_rate: _Rate
    """Lowest sample rate of its files, in Hz."""
    synthetic: bool
    licence: str


class Tested(NamedTuple):
    """What a bundle is worth, in few values."""

    protocol: str
    new_speakers: bool
    """Whether train and test shared no speaker."""
    accuracy: float
    low: float
    """Lower end of the accuracy's 95 % interval."""
    high: float
    verdict: Outcome


class Origin(_Record):
    """The run whose configuration was fitted again; its scores are those of the run's models."""

    run_id: str
    protocol: str
    protocol_hash: str
    by_speaker: bool
    corpora_apart: bool = False
    """Whether each fold tested corpora that it was not trained on; False in older records."""
    criteria: Criteria
    metrics: Metrics
    verdict: Outcome
    limits: list[str] = []
    """Reasons why the verdict is at most undecided."""
    pass_confidence: float | None = Field(
        validation_alias=AliasChoices("pass_confidence", "pass_probability")
    )
    """As in `results.schema.Standing`."""
    weakest: str | None = None
    """Criterion that it is of; None in older records."""
    groups: dict[str, list[ValueScores]] = {}
    """Scores by value of each attribute of the corpus that has 2 to 10 values; {} in older records."""
    confidences: list[ConfidenceScores] = []
    """Accuracy by the probability of the most probable class, lowest first; [] in older records."""

    @property
    def tested_on(self) -> str:
        """For whom the scores hold."""
        if self.corpora_apart:
            return "new speakers of another corpus"
        return "new speakers" if self.by_speaker else "speakers it was trained on (expect less on new ones)"

    def as_sure(self, confidence: float) -> ConfidenceScores | None:
        """Scores of the test clips that were answered about as surely; None in older records."""
        return next((one for one in self.confidences if min(confidence, 1) <= one.up_to), None)

    @property
    def tested(self) -> Tested:
        """How often the run's models were right, and for whom."""
        accuracy = self.metrics["accuracy"]
        bounds = accuracy.low, accuracy.high
        return Tested(self.protocol, self.by_speaker, accuracy.value, *bounds, self.verdict)


def worth_phrase(origin: Origin | None) -> str:
    """How often a bundle's model was right when it was tested, and for whom, in one line.

    Args:
        origin: the run that the bundle is from; None for one that was not tested.
    """
    if origin is None:
        return "How often this model is right is not known: it was not exported from a run."
    tested = origin.tested
    value, low, high = (f"{100 * number:.1f}" for number in (tested.accuracy, tested.low, tested.high))
    return (
        f"When tested ({origin.protocol}), {value} % of clips ({low} to {high}) of {origin.tested_on} were "
        f"recognised: {origin.verdict.upper()}."
    )


def sure_phrase(origin: Origin, sure: ConfidenceScores) -> str:
    """How often answers about as sure as one were right, and for whom, in one line."""
    right = sure.accuracy
    return (
        f"Answers this sure ({100 * sure.above:.0f} to {100 * sure.up_to:.0f} %) were right in "
        f"{100 * right.value:.0f} % ({100 * right.low:.0f} to {100 * right.high:.0f}) "
        f"of {sure.n_clips:,} test clips of {origin.tested_on}."
    )


class GoldenClip(_Record):
    """A clip with the probabilities that the model must give to it on any machine."""

    file: str
    """Path below the bundle's folder."""
    clip: str
    """Id in the corpus."""
    label: str
    """True class."""
    probabilities: list[Annotated[float, Field(ge=0, le=1.001)]]
    """(n_classes,), in the order of the record's labels."""


class BaseRecord(_Record):
    """What every bundle has, of one pipeline or of an ensemble."""

    schema_version: Literal[1] = 1
    labels: Annotated[list[str], Field(max_length=_MAX_CLASSES)]
    """Classes, in the order of the probabilities."""
    sample_rate: _Rate
    """Rate in Hz that audio is resampled to; of an ensemble, its members' highest."""
    channel: Channel = "mix"
    """Channel of stereo recordings that it was trained on, and predicts."""
    corpus: TrainingCorpus
    origin: Origin | None = None
    fold: int | None = None
    """Fold of the origin's protocol, from 0, on whose training part it was fitted; None: on all clips."""
    form: str = DEFAULT_FORMAT
    """Name of the model's format; of an ensemble, of each member's."""
    quantised: str | None = None
    """Number type of quantised weights, such as int8."""
    environment: dict[str, str]
    """Versions and machine that it was fitted with."""
    golden: Annotated[list[GoldenClip], Field(max_length=_MAX_CLASSES)] = []
    """Class by class, in the order of `labels`."""
    files: Annotated[dict[str, str], Field(max_length=_MAX_FILES)] = {}
    """sha256 of each other file, by its path below the folder."""

    @model_validator(mode="after")
    def _has_one_golden_clip_a_class(self) -> Self:
        if len(self.golden) > len(self.labels):
            raise ValueError(f"{len(self.golden)} golden clips for {len(self.labels)} classes")
        return self

    @property
    @abstractmethod
    def title(self) -> str:
        """The pipeline or the ensemble, in a few words."""

    @property
    def model_format(self) -> ModelFormat:
        """The model's format; raises ExportError: unknown."""
        return find_format(self.form)

    @property
    def tolerance(self) -> float:
        """Largest difference allowed between a probability and the golden clip's; raises ExportError."""
        return self.model_format.tolerance_of(self.quantised)


class ChoiceRecord(_Record):
    """Which configuration of a tuned run was taken, of those that its folds chose and the untuned one."""

    objective: str
    configuration: dict[str, Any]
    """By NAME.PARAMETER; {} for the untuned one."""
    folds: list[int]
    """Folds, from 0, whose study chose it."""
    score: float | None = None
    """Mean over the inner splits of all folds; None if it was chosen by its gain inside its own fold."""
    untuned_score: float | None = None
    """The same of the untuned configuration; None if it failed or was not scored."""
    n_candidates: int | None = None

    @property
    def sentence(self) -> str:
        """What was chosen and why."""
        numbers = ", ".join(str(fold + 1) for fold in self.folds)
        what = f"that of fold{'s' * (len(self.folds) > 1)} {numbers}" if self.folds else "the untuned one"
        if self.score is None:
            return f"Configuration: {what}, which gained most over the untuned one inside its own fold."
        title = objective_title(self.objective)
        untuned = (
            ""
            if self.untuned_score is None or not self.folds
            else f", untuned {100 * self.untuned_score:.1f}"
        )
        return (
            f"Configuration: {what}, the best of {self.n_candidates} over the inner splits of all folds: "
            f"{title} {100 * self.score:.1f} %{untuned}."
        )


class NoveltyRecord(_Record):
    """Sizes of what `novelty.Novelty` measures with, which is a file of its own."""

    width: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    """Numbers per clip: those of a vector, twice those of a frame."""
    n_components: Annotated[int, Field(ge=1, le=MAX_COMPONENTS)]
    n_quantiles: Annotated[int, Field(ge=2, le=MAX_QUANTILES)]


class BundleRecord(BaseRecord):
    """A pipeline: its plugins, its configuration and where it is from."""

    features: Recipe
    model: Recipe
    hyperparameters: dict[str, Any]
    """The whole configuration, including defaults."""
    input_shape: Annotated[list[_Size], Field(min_length=1, max_length=2)]
    """Shape of one training clip's features, (n_frames, n_dims) or (n_dims,)."""
    seed: int
    versions: Versions | None = None
    """Changed versions of training clips that it was trained on, too; if averaged, it predicts by them."""
    choice: ChoiceRecord | None = None
    """None for an untuned run, for the configuration of one fold, and in older bundles."""
    novelty: NoveltyRecord | None = None
    """None in older bundles, and of fewer than 100 clips."""

    @model_validator(mode="after")
    def _has_features_of_bounded_size(self) -> Self:
        if prod(self.input_shape) > _MAX_VALUES:
            raise ValueError(f"features of shape {self.input_shape} are too large")
        return self

    @property
    def title(self) -> str:
        """The names of its plugins."""
        return f"{self.features.name} + {self.model.name}"

    @property
    def versions_sentence(self) -> str:
        """What versions it was trained on, and what a prediction is made from; empty without any."""
        if self.versions is None:
            return ""
        n_versions = len(names_of(self.versions))
        trained = (
            f"Trained on {n_versions} changed versions of each clip, too: {', '.join(self.versions.kinds)}."
        )
        if not self.versions.averaged:
            return f"{trained} A recording is predicted as it is."
        return (
            f"{trained} A prediction is the mean over a recording and its versions, so that it extracts "
            f"features {n_versions + 1} times."
        )


class BundledMember(_Record):
    """A pipeline of an ensemble."""

    title: str
    run_id: str
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Share of the mean, or exponent in the logarithmic pool."""


class EnsembleBundleRecord(BaseRecord):
    """The pipelines of an ensemble, each a bundle of its own, and how their probabilities are fused."""

    fusion: Literal["mean", "log_pool"]
    members: Annotated[list[BundledMember], Field(min_length=1, max_length=_MAX_MEMBERS)]
    """In the order of the members' folders."""

    @property
    def title(self) -> str:
        """The fusion, and its members by weight."""
        members = sorted(self.members, key=lambda member: -member.weight)
        return f"{self.fusion} of " + ", ".join(f"{one.title} ({one.weight:.2f})" for one in members)


def _kind(values: Any) -> str:
    return "ensemble" if isinstance(values, dict) and "members" in values else "pipeline"


class AnyRecord(RootModel[Any]):
    """The record of either kind: an ensemble's has members."""

    root: Annotated[
        Annotated[BundleRecord, Tag("pipeline")] | Annotated[EnsembleBundleRecord, Tag("ensemble")],
        Discriminator(_kind),
    ]
