"""The contents of `run.json`. Pydantic validates it when it is read; the version changes with its meaning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeVar

from pydantic import AliasChoices, ConfigDict, Field, ValidationInfo, field_validator

from marsbench.config import Criteria, Normalise, Tuning, Versions, is_transductive
from marsbench.data.corpus_options import AS_LISTED, Reading
from marsbench.data.voices import UNKNOWN
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import maximised
from marsbench.evaluation.scores import (
    FoldScores,
    Grade,
    Metrics,
    Outcome,
    Score,
    StoredRecord,
    agreeing,
    at_most_undecided,
)
from marsbench.hashing import digest
from marsbench.plugin.registry import Recipe

Status = Literal["complete", "failed"]


class CorpusRecord(StoredRecord):
    """The corpus a run was made on."""

    name: str
    dataset: Recipe
    """The plugin that made it, with its parameters: where the audio was."""
    joined: list[Recipe] = Field(default=[])
    """Those of the other corpora that were joined to it."""
    reading: Reading = AS_LISTED
    """How the clips that it lists were read."""
    fingerprint: str
    labels: list[str]
    """Class names, in the order of every array."""
    n_clips: int
    synthetic: bool
    licence: str
    bad_audio: dict[str, str]
    """Reason by clip that was left out."""
    notes: list[str]
    held_out: list[str] = Field(default=[])
    """Clips that a search kept away from the run."""

    @property
    def datasets(self) -> list[Recipe]:
        """The plugin that made it, or those of all corpora that it is joined of."""
        return [self.dataset, *self.joined]

    def is_meant_by(self, *data: str) -> bool:
        """Whether `data` is the name of the corpus or of its dataset, or the path that it was read from.

        A joined corpus is meant by its name, or by the datasets or paths of all that it is joined of.
        """
        if data == (self.name,):
            return True
        return len(data) == len(self.datasets) and all(
            any(_is_meant(dataset, one) for one in data) for dataset in self.datasets
        )


def _is_meant(dataset: Recipe, data: str) -> bool:
    root = dataset.parameters.get("root")
    if data == dataset.name or not data or not root or not isinstance(root, str):
        return data == dataset.name
    try:
        return Path(data).expanduser().resolve() == Path(root).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, no such user, a NUL
        return False


class LeakageRecord(StoredRecord):
    """What train and test share; fields as in `protocols.protocol.Leakage`."""

    speakers_shared: int = 0
    statements_shared: int = 0
    takes_shared: float | None = None
    """Also None in older records."""
    exact_groups: list[list[str]] = Field(default=[])
    near_groups: list[list[str]] = Field(default=[])
    dropped_duplicates: list[tuple[int, str]] = Field(
        default=[], validation_alias=AliasChoices("dropped_duplicates", "dropped")
    )
    """Older records call it `dropped`."""


class FoldCorpora(StoredRecord):
    """The corpora in the two parts of a fold, by name."""

    train: list[str]
    test: list[str]


class ProtocolRecord(StoredRecord):
    """The protocol a run was made under."""

    name: str
    hash: str
    by_speaker: bool
    n_folds: int
    notes: list[str]
    description: str = ""
    leakage: LeakageRecord = LeakageRecord()
    together: tuple[str, ...] | None = None
    """As in `protocols.protocol.Definition`; None in older records."""
    corpora: list[FoldCorpora] = Field(default=[])
    """By fold, where several corpora were joined."""

    @property
    def corpora_apart(self) -> bool:
        """Whether every fold tests corpora that it was not trained on."""
        return bool(self.corpora) and all(set(fold.train).isdisjoint(fold.test) for fold in self.corpora)

    @property
    def kept_together(self) -> tuple[str, ...]:
        """Names of attributes: clips that are equal in all of them stayed together in every split."""
        return (("speaker",) if self.by_speaker else ()) if self.together is None else self.together


class FoldTuning(StoredRecord):
    """Result of tuning on one fold."""

    fold: int
    best: int | None
    """Number of the trial whose configuration was used: 0 for the untuned one, where no other was better by a
    standard error; None if no trial was complete, and the untuned configuration was used."""
    configuration: dict[str, Any]
    """Chosen hyperparameters, by NAME.PARAMETER."""
    inner_score: float | None
    """Validation score of the chosen trial, on clips of the fold's training part."""
    outer_score: float
    """By the same objective on the fold's test clips."""
    untuned_score: float | None = None
    """Validation score of the untuned configuration; None if its trial failed or no other came as far, and in
    older records."""
    complete: int
    """Trials, by how they ended."""
    pruned: int
    failed: int
    ended: str
    """Why there was no further trial."""

    def optimism(self, untuned: float | None) -> float | None:
        """Validation minus test score of the chosen configuration, less that of the untuned one.

        What selection added: larger training parts and harder test clips have their share in both. 0 where
        the untuned configuration was used; None if not known.

        Args:
            untuned: score of the untuned run on the fold's test clips, by the same objective.
        """
        if not self.best:
            return 0.0
        if self.inner_score is None or self.untuned_score is None or untuned is None:
            return None
        return (self.inner_score - self.outer_score) - (self.untuned_score - untuned)


class TuningRecord(StoredRecord):
    """How a run was tuned, and the result on each fold."""

    asked: Tuning
    folds: list[FoldTuning]

    @property
    def untuned_folds(self) -> list[int]:
        """Numbers, from 1, of the folds on which tuning found nothing better."""
        return [fold.fold + 1 for fold in self.folds if not fold.best]

    @property
    def found_nothing(self) -> bool:
        """Whether the untuned configuration was used on every fold."""
        return len(self.untuned_folds) == len(self.folds)

    def optimisms(self, untuned: Sequence[FoldScores]) -> list[float | None]:
        """`FoldTuning.optimism` of each fold; `untuned` has the untuned run's scores by fold, if any."""
        name = self.asked.objective
        scores = {one.fold: maximised(name, one.scores[name]) for one in untuned if name in one.scores}
        return [fold.optimism(scores.get(fold.fold)) for fold in self.folds]

    @property
    def n_trials(self) -> int:
        """Number of trials, summed over the folds."""
        return sum(fold.complete + fold.pruned + fold.failed for fold in self.folds)


_TRANSDUCTIVE = (
    "transductive: features are standardised by all clips of a corpus or speaker, test clips among them, "
    "without labels; such a model cannot predict one clip alone"
)
NORMALISED: Mapping[Normalise, str] = {
    "corpus": _TRANSDUCTIVE,
    "speaker": _TRANSDUCTIVE,
    "training-speakers": (
        "training speakers aligned: features of each training speaker have the mean and deviation of all "
        "training clips; test clips are unchanged"
    ),
}
"""What `Standing.normalise` did, and makes of a score, as a sentence."""


TRAINED_ON_VERSIONS = (
    "versions: models are trained on changed versions of each training clip, too; a test clip is only itself"
)
"""What `Standing.versions` means, as a sentence."""


def normalised(by: Normalise) -> str:
    """What `Standing.normalise` did, and makes of a score, in a few words."""
    return f"standardised per {by} (transductive)" if is_transductive(by) else "training speakers aligned"


def training_words(of: Any) -> list[str]:
    """What was done to the features of a record or row, and what versions it was trained on."""
    words = [normalised(of.normalise)] if of.normalise else []
    return words + ([of.versions.phrase] if of.versions else [])


class MemberRecord(StoredRecord):
    """One of the runs that an ensemble is made of."""

    run_id: str
    features: str
    model: str
    settings: dict[str, Any]
    seed: int
    tuned: str | None
    """Digest of the tuning that was requested; None for an untuned run."""
    normalise: Normalise | None = None
    """As in `Standing`."""
    versions: Versions | None = None
    """As in `Standing`."""


class EnsembleRecord(StoredRecord):
    """Members and weights of an ensemble. Its probabilities are a pool of its members'."""

    members: list[MemberRecord]
    """By run id."""
    inner_folds: int
    """Splits of each fold's training clips on which the weights were fitted; 0 for a plain mean."""
    chosen: Literal["by hand", "inside training parts"] = "by hand"
    """How the members were chosen: by hand, by someone who could see the board, or by a search or `--choose`,
    which see predictions inside training parts alone. Older records do not say: by hand."""
    weights: list[list[float]]
    """One weight per member for each fold; those of a logarithmic pool are exponents of any sum."""

    @property
    def key(self) -> str:
        """Digest of the members and the kind of pool, whatever their code."""
        optional = "normalise", "versions"  # older members have none
        members = [
            member.model_dump(exclude={"run_id", *(name for name in optional if not getattr(member, name))})
            for member in self.members
        ]
        return digest([sorted(members, key=digest), self.inner_folds])

    @property
    def shares(self) -> list[list[float]]:
        """The weights of each fold, normalised to sum to 1."""
        return [[weight / (sum(of_fold) or 1.0) for weight in of_fold] for of_fold in self.weights]

    @property
    def mean_shares(self) -> dict[str, float]:
        """Over the folds, by run id; empty unless there is a fold."""
        columns = zip(*self.shares, strict=True)
        return {member.run_id: fmean(column) for member, column in zip(self.members, columns, strict=False)}


class RunPlan(StoredRecord):
    """A run that was started: what is known of it before its first fit."""

    schema_version: Literal[1] = 1
    experiment: dict[str, Any]
    """Keys and values of an experiment file with this run alone; empty for an ensemble."""
    features: str
    model: str
    settings: dict[str, Any]
    seed: int
    n_folds: int
    n_clips: int
    n_units_at_once: int
    """How many fits, of all runs, were to run at a time."""
    planned: str
    """UTC, ISO 8601."""
    tuning: Tuning | None = None
    """None for the untuned run."""
    fusion: dict[str, Any] | None = None
    """Keys and values that ask for an ensemble; None for any other run."""
    driver: str = ""
    """`this_process` of the command that last set out to make it."""


class Standing(StoredRecord):
    """The part of a run that a leaderboard needs; the rest of `run.json` is skipped, which saves time."""

    model_config = ConfigDict(extra="ignore")

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
    normalise: Normalise | None = None
    """How features were normalised (`evaluation.normalisation`), which may make scores transductive; of an
    ensemble how those of a member were."""
    versions: Versions | None = None
    """Changed versions of training clips that it was trained on, too; of an ensemble see its members."""
    seed: int
    threads: int
    """Threads that each unit computed with."""
    criteria: Criteria
    metrics: Metrics | None
    """None unless every fold is there."""
    n_speakers: int | None = None
    """Known speakers of the tested clips; None in older records."""
    verdict: Outcome | None
    limits: list[str] = Field(default=[])
    """Reasons why the verdict is at most undecided, whatever the intervals."""
    independent_clips: bool = False
    """Whether it was declared that no two clips without a speaker are of one."""
    pass_confidence: float | None = Field(
        default=None, validation_alias=AliasChoices("pass_confidence", "pass_probability")
    )
    """How sure it is that the weakest criterion is met, as sure as the verdict allows; None with `limits`.

    Older records call it `pass_probability`: the share of resampled corpora on which all criteria are met.
    """
    failures: list[Failure]
    fit_seconds: float
    predict_seconds: float
    n_parameters: int | None
    extraction_seconds: float | None = None
    """Median for one clip, from its file to its features."""
    model_bytes: int | None = None
    """Size of a saved model, mean over folds; None if it could not be saved."""
    tuning: TuningRecord | None = None
    """None for the untuned configuration; without folds unless all folds are complete."""
    predictions_sha256: str | None = None
    """Hexadecimal sha256 of `predictions.parquet`; None if there is none, since a fold failed."""
    ensemble: EnsembleRecord | None = None
    """None for a run of one pipeline. An ensemble has its members' summed times, sizes and parameters."""

    @field_validator("pass_confidence")
    @classmethod
    def _agrees(cls, value: float | None, info: ValidationInfo) -> float | None:
        return agreeing(value, info.data.get("verdict"))


class Run(Standing):
    """One run: configuration, origin and result."""

    model_config = ConfigDict(extra="forbid")

    hyperparameters: list[dict[str, Any]]
    """Whole configuration by fold."""
    grades: list[Grade]
    new_speaker: Score | None = None
    """Mean accuracy of a speaker, and the interval that the accuracy of one more is in with 95 %; None unless
    train and test share no speaker, and for fewer than three."""
    warnings: list[str]
    """Warnings of the model's libraries, each once."""
    environment: dict[str, str]
    """Versions and hardware of the fits; values that differ between fits are joined by `and`."""

    @property
    def title(self) -> str:
        """Pipeline, corpus and protocol, in one line."""
        words = [f"{self.features.name} + {self.model.name}", *(["tuned"] if self.tuning else [])]
        return f"{', '.join([*words, *training_words(self)])}, {self.corpus.name}, {self.protocol.name}"


_Kind = TypeVar("_Kind", bound=Standing)


def with_limits(run: _Kind) -> _Kind:
    """A record as it is read: an older one, which tells of no speakers, with a verdict that is limited so.

    Its speakers are known if train and test share none by its protocol, or share some.
    """
    protocol = run.protocol
    is_known = (
        protocol.by_speaker or protocol.leakage.speakers_shared or "leakage" not in protocol.model_fields_set
    )
    if "limits" in run.model_fields_set or is_known:
        return run
    changes: dict[str, Any] = {"limits": [UNKNOWN], "pass_confidence": None}
    if run.verdict == "pass":
        changes["verdict"] = "undecided"
    if isinstance(run, Run):
        changes["grades"] = list(map(at_most_undecided, run.grades))
    return run.model_copy(update=changes)
