"""What is asked for: an experiment, a search or an ensemble, as a model of which each field is one option.

A field says all there is to say of an option once: its name, type, default and help, how a text is read (a
validator) and, as a `Hint`, what a command line needs beside these. Made from it are the options of a command
(`cli.options`), the parameters of `marsbench.run` and its like (`api.options`), the keys of a TOML file, and
the command that repeats a run (`results.reproduce`).
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)  # fmt: skip

from marsbench.data.corpus_options import Reading
from marsbench.errors import ConfigError, shown, shown_path, unknown
from marsbench.hashing import digest
from marsbench.options import (
    Folder,
    Hint,
    Options,
    Protocols,
    Seconds,
    Settings,
    Share,
    Size,
    Words,
    read_toml,
    thresholds,
)  # fmt: skip


class Criteria(BaseModel):
    """Thresholds that must be exceeded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy: Share = 0.80
    macro_f1: Share = 0.80
    class_recall: Share = 0.75
    """For every class."""


def _criteria_texts(value: Criteria) -> list[str]:
    """Texts of those that are not at their defaults; of all if all are."""
    usual, asked = Criteria().model_dump(), value.model_dump()
    changed = {name: number for name, number in asked.items() if number != usual[name]} or asked
    return [f"{name}={number!r}" for name, number in changed.items()]


_THRESHOLD = Hint("NAME=NUMBER", texts=_criteria_texts)


Objective = Literal["macro_f1", "accuracy", "uar", "log_loss"]
Normalise = Literal["corpus", "speaker", "training-speakers"]
VersionKind = Literal["speed", "pitch", "vtl", "room", "noise"]


def is_transductive(by: Normalise | None) -> bool:
    """Whether features of test clips are normalised by statistics of further test clips."""
    return by in {"corpus", "speaker"}


class Versions(BaseModel):
    """Changed versions of clips (`features.clip_versions`) that a pipeline is trained on beside the clips."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: tuple[VersionKind, ...] = Field(min_length=1)
    averaged: bool = False
    """Whether a prediction is the mean over a clip and its versions, instead of that of the clip alone."""

    @property
    def phrase(self) -> str:
        """What a run was trained on and how it predicts, in a few words."""
        return f"versions {','.join(self.kinds)}{' (predictions averaged)' if self.averaged else ''}"


def _in_order(kinds: list[str]) -> list[str]:
    """Each kind once and in one order, so that the order in which they are named makes no other run."""
    for kind in kinds:
        if kind not in get_args(VersionKind):
            raise ValueError(unknown("version", kind, get_args(VersionKind)))
    return [kind for kind in get_args(VersionKind) if kind in kinds]


def tuner_names() -> list[str]:
    """Names of the engines of tuning, by their files alone; see `tuning.engines`."""
    spec = find_spec("marsbench.tuning")
    folders = (spec and spec.submodule_search_locations) or ()
    files = (path for folder in folders for path in Path(folder).glob("*_engine.py"))
    return sorted(path.stem.removesuffix("_engine").replace("_", "-") for path in files)


def _known_tuner(name: str) -> str:
    if name not in tuner_names():
        raise ValueError(unknown("tuner", name, tuner_names()))
    return name


Tuner = Annotated[str, AfterValidator(_known_tuner), Hint("|".join(tuner_names()))]
DEFAULT_TRIALS = 3
DEFAULT_INNER_FOLDS = 3
"""For models without epochs; networks, whose fits take a hundred times as long, have a hold-out."""
_ENDLESS = 1_000_000
LEAST_SEARCH = 10.0
"""Seconds within which a search can come to anything."""


class Tuning(BaseModel):
    """How the parameters of a pipeline are searched, inside each fold's training clips."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int
    """Configurations tried for each fold."""
    tuner: str
    objective: Objective
    """What is maximised, mean over the inner folds; see `evaluation.metrics.objective_score`."""
    inner_folds: int
    """Splits of a fold's training clips; 1 is a single hold-out of a fifth."""
    time_budget: float | None
    """Seconds that the whole experiment may take."""

    @property
    def is_endless(self) -> bool:
        """Whether time alone ends it."""
        return self.trials >= _ENDLESS

    @property
    def key(self) -> str:
        """Digest of all of it."""
        return digest(self.model_dump())[:12]


class Execution(Options):
    """Where fits run, and what one may take."""

    workers: Annotated[int | None, Hint("N", "as many as cores and memory allow")] = Field(
        default=None, ge=0, strict=True
    )
    """Worker processes on this machine; 0 runs all in this one, for debugging: fits share its state."""
    cluster: Annotated[str | None, Hint("ADDRESS")] = None
    """Dask scheduler whose workers run the fits instead, such as tcp://HOST:8786."""
    threads: Annotated[int, Hint("N")] = Field(default=1, ge=1, strict=True)
    """Threads of one fit. Another number changes the last digits, so it makes another run."""
    unit_timeout: Seconds | None = None
    """Longest time for one fit, such as 90s, 30m or 2h; a fit that takes longer has failed."""
    unit_memory: Size | None = None
    """Most memory for the process of one fit, such as 4GB."""


class _Kept(Options):
    """What everything that makes runs has in common."""

    results: Folder = Path("results")
    """Folder of runs."""
    plugins: Annotated[list[Folder], Hint("DIR")] = Field(default=[])
    """Further folders with datasets/, features/ or models/ in them."""
    criteria: Annotated[Criteria, BeforeValidator(thresholds), _THRESHOLD] = Criteria()
    """Scores that a run must exceed: accuracy, macro_f1, and class_recall of every class."""
    independent_clips: bool = False
    """Declare that no two clips without a speaker are of one; else the verdict on them is never PASS."""


def _places(value: object) -> object:
    """One name or path, or a list of such."""
    given = value if isinstance(value, (list, tuple)) else [value]
    return [str(place) if isinstance(place, Path) else place for place in given]


Data = Annotated[
    list[str],
    BeforeValidator(_places),
    Field(min_length=1),
    PlainSerializer(lambda places: places[0] if len(places) == 1 else places, when_used="json"),
    Hint("NAME|PATH"),
]
"""One or more; a single one is written as its text alone, as before there could be several."""
Places = str | Sequence[str] | None
"""A corpus: its name or path, or one for each of those that it is joined of; None for any."""


def each_place(places: Places) -> tuple[str, ...]:
    """The names and paths, none if any corpus is meant."""
    return (places,) if isinstance(places, str) else tuple(places or ())


def places_phrase(places: Places) -> str:
    """The names and paths as a message names them."""
    return " and ".join(each_place(places))


class _Bench(Reading, _Kept):
    """What runs of pipelines have in common, whoever chooses the pipelines."""

    data: Data = Field(default=["demo"])
    """A dataset's name, or the path to a folder or table; several are joined over their common classes."""
    protocol: Protocols = Field(default=["stratified5"])
    seed: Annotated[int, Hint("N")] = Field(default=0, ge=0, lt=2**30, strict=True)
    """Seed of training."""
    set: Settings = Field(default={})
    """Parameters of plugins, such as svm.C=10."""
    bad_audio: Literal["skip", "fail"] = "skip"
    """Skip audio files that cannot be used, and list them, or fail."""
    objective: Objective = "macro_f1"
    """Score to maximise, or log loss to minimise, measured inside the training clips."""


class _Tuned(Options):
    """How often pipelines are run, and how they are tuned."""

    repeats: Annotated[int, Hint("N")] = Field(default=1, ge=1, le=1000, strict=True)
    """Runs of each pipeline on the same folds, with seeds from the seed on."""
    trials: Annotated[int | None, Hint("N", f"{DEFAULT_TRIALS}, or what the time budget allows")] = Field(
        default=None, ge=0, strict=True
    )
    """Configurations that a tuner tries for each fold; 0 for the untuned one alone."""
    tuner: Tuner = "optuna"
    """What proposes the configurations."""
    inner_folds: Annotated[int | None, Hint("N", f"{DEFAULT_INNER_FOLDS}; for networks 1")] = Field(
        default=None, ge=1, le=20, strict=True
    )
    """Splits of each fold's training clips to tune on; 1 is a single hold-out of a fifth."""
    time_budget: Seconds | None = None
    """Time for the whole experiment, such as 30m; it cuts trials, never folds."""


class _Versioned(Options):
    """Whether pipelines are trained on changed versions of the training clips, too."""

    versions: Annotated[
        Words | None, AfterValidator(lambda kinds: kinds and _in_order(kinds)), Hint("NAME,...", "none")
    ] = None
    """Train on changed versions of each training clip too: speed, pitch, vtl, room, noise."""
    average_versions: bool = False
    """Predict the mean over a clip and its versions; costs their extraction for each prediction."""

    @field_validator("average_versions")
    @classmethod
    def _has_versions(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("versions"):
            raise ValueError("there are no versions to average over; name some, such as --versions speed")
        return value

    @property
    def clip_versions(self) -> Versions | None:
        """The versions of both options; None for none."""
        kinds = self.versions
        return Versions.model_validate({"kinds": kinds, "averaged": self.average_versions}) if kinds else None


class Experiment(_Bench, _Tuned, _Versioned, Execution):
    """A grid of pipelines on one corpus under one protocol; every pair of features and model is run."""

    features: Words
    """Feature extractors."""
    model: Words
    """Models; each pair of features and model is a pipeline."""
    normalise: Annotated[Normalise | None, Hint(if_none="none")] = None
    """Standardise features by all clips of a corpus or speaker (transductive), or align training speakers."""

    def tuning(self, has_epochs: bool) -> Tuning | None:
        """How to tune a model, one with epochs or one without; None for not at all."""
        trials = self.trials
        if trials is None:
            trials = DEFAULT_TRIALS if self.time_budget is None else _ENDLESS
        if trials == 0:
            return None
        return Tuning(
            trials=trials,
            tuner=self.tuner,
            objective=self.objective,
            inner_folds=self.inner_folds or (1 if has_epochs else DEFAULT_INNER_FOLDS),
            time_budget=self.time_budget,
        )


def _texts(value: object) -> object:
    """A number of speakers as the text that a command line would have."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _share_or_number(value: float) -> float:
    if value >= 1 and not value.is_integer():
        raise ValueError("a share below 1 or a whole number of clips is needed")
    return value


Amount = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_share_or_number)]


class Search(_Bench, _Versioned, Execution):
    """Pipelines to search through on one corpus under one protocol, within a time."""

    time_budget: Seconds = Field(default=1800.0, ge=LEAST_SEARCH)
    """Time for everything, export included, such as 5m or 1h."""
    features: Annotated[Words | None, Hint("NAME,...", "all that can be used")] = None
    """Only these feature extractors."""
    model: Annotated[Words | None, Hint("NAME,...", "all that can be used")] = None
    """Only these models."""
    protocol: Protocols = Field(default=["stratified5"], max_length=1)
    hold_out_speakers: Annotated[Words | None, BeforeValidator(_texts), Hint("NAME,...|N", "none")] = None
    """Speakers, or how many, whose clips no step of the search sees: the winner predicts them at the end."""
    hold_out_clips: Annotated[Amount | None, Hint("SHARE|N", "none")] = None
    """The same for a share or a number of clips, for a corpus that names no speakers."""

    @field_validator("hold_out_clips")
    @classmethod
    def _is_given_alone(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("hold_out_speakers") is not None:
            raise ValueError("hold-out-speakers is given too; give one of the two")
        return value


class Fusion(_Kept, Execution):
    """An ensemble: finished runs whose probabilities are fused."""

    runs: Annotated[list[str], Hint("RUN", is_argument=True)] = Field(default=[])
    """Two runs or more: ids, beginnings of ids, or folders; with --choose none for all of the board."""
    choose: bool = False
    """Choose members among the runs by predictions inside the training parts; the default way."""
    protocol: Annotated[str | None, Hint("NAME")] = None
    """With --choose and no RUN: protocol of the board."""
    equal: bool = False
    """Take the plain mean of the probabilities: nothing is fitted."""
    inner_folds: Annotated[int, Hint("N")] = Field(default=1, ge=1, le=20, strict=True)
    """Splits of each fold's training clips to fit the weights on; 1 is a single hold-out of a fifth."""
    data: Data | None = None
    """The runs' corpus, name or path, if it was moved; with --choose and no RUN, the board's."""
    threads: Annotated[int, Hint(is_hidden=True)] = 1
    """As many as the members' own, whatever was asked for."""


def parse_criteria(given: Sequence[str] | None) -> Criteria:
    """Criteria of `NAME=NUMBER` texts, the others at their defaults; raises ConfigError."""
    return _Kept.parse({}, typed={"criteria": list(given or ())}).criteria


def parse_settings(given: Sequence[str] | None) -> dict[str, Any]:
    """Settings of `NAME.PARAMETER=VALUE` texts; raises ConfigError."""
    return _Bench.parse({}, typed={"set": list(given or ())}).set


_MOST_BYTES = 1 << 20
"""Largest experiment file that is read."""


def read_experiment_file(path: Path) -> dict[str, Any]:
    """Keys and values of a TOML file; raises ConfigError if it is not valid TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigError(f"{shown_path(path)} is larger than 1 MB, too large for an experiment")
        return read_toml(content.decode("utf-8-sig"))
    except OSError as error:
        hint = "" if path.suffix == ".toml" else "; pipelines are named with --features and --model"
        raise ConfigError(f"{path} cannot be read: {error.strerror}{hint}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error.reason}, byte {error.start + 1})") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {shown(str(error))}") from error
