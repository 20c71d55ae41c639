"""What to run: the words of `bench run`, from options or from a TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from marsbench.errors import ConfigError
from marsbench.hashing import digest, is_jsonable
from marsbench.validation import first_problem, seconds, size


def _words(value: object) -> object:
    """One word, several with commas between, or a list of such."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        return value
    return list(dict.fromkeys(word.strip() for item in given for word in item.split(",") if word.strip()))


Words = Annotated[list[str], BeforeValidator(_words), Field(min_length=1)]


def _folder(value: object) -> object:
    """A path with `~` as shells have it; an empty one is no path."""
    if value == "":
        raise ValueError("a folder is needed")
    return Path(value).expanduser() if isinstance(value, (str, Path)) else value


Folder = Annotated[Path, BeforeValidator(_folder)]


def _protocols(value: object) -> object:
    """Words, of which a file's path is made absolute, so that it is found from any folder."""
    words = _words(value)
    return [_protocol(word) for word in words] if isinstance(words, list) else words


def _protocol(word: object) -> object:
    if isinstance(word, str) and is_protocol_path(word):
        try:
            return str(Path(word).expanduser().absolute())
        except RuntimeError as error:
            raise ValueError("no such user's home folder") from error
    return word


def _seconds(value: object) -> object:
    """A number of seconds, or text such as 90s, 30m, 2h."""
    return seconds(value) if isinstance(value, str) else value


def _bytes(value: object) -> object:
    """A number of bytes, or text such as 500MB, 4GB."""
    return size(value) if isinstance(value, str) else value


def _share(value: object) -> object:
    """A share from 0 to 1; a percentage is answered with the share that was probably meant."""
    if isinstance(value, (int, float)) and 1 < value <= 100:
        raise ValueError(f"a share from 0 to 1 is needed; write {value / 100:g}?")
    return value


_Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]


class Criteria(BaseModel):
    """Thresholds that must be exceeded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy: _Share = 0.80
    macro_f1: _Share = 0.80
    class_recall: _Share = 0.75
    """For every class."""


class Execution(BaseModel):
    """Where units run, and what one may take."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )

    workers: int | None = Field(default=None, ge=0, strict=True)
    """Worker processes on this machine; 0 for none but this one; None for what it has room for."""
    cluster: str | None = None
    """Address of a Dask scheduler, such as tcp://HOST:8786."""
    threads: int = Field(default=1, ge=1, strict=True)
    """Threads that one unit computes with; another number gives other last digits, so another run."""
    unit_timeout: Annotated[float | None, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)] = None
    """Seconds that one unit may take."""
    unit_memory: Annotated[int | None, BeforeValidator(_bytes), Field(gt=0)] = None
    """Bytes that one unit's worker process may take; None for an even share of the machine's."""


Objective = Literal["macro_f1", "accuracy", "uar"]
Tuner = Literal["optuna", "keras-tuner"]
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
    tuner: Tuner
    objective: Objective
    """The score that is maximised, mean over the inner folds."""
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


class _Bench(Execution):
    """What runs have in common, whoever chooses the pipelines."""

    data: str = "demo"
    """A dataset's name, or a path that a dataset recognises."""
    protocol: Annotated[Words, BeforeValidator(_protocols)] = ["stratified5"]
    """Names that `bench protocols list` shows, or paths that end in .toml or .json."""
    seed: int = Field(default=0, ge=0, lt=2**30, strict=True)
    results: Folder = Path("results")
    plugins: list[Folder] = []
    set: dict[str, Any] = {}
    """Plugin parameters, by NAME.PARAMETER."""
    criteria: Criteria = Criteria()
    bad_audio: Literal["skip", "fail"] = "skip"
    objective: Objective = "macro_f1"


class Experiment(_Bench):
    """A grid of pipelines on one corpus under one protocol; every pair of features and model is run."""

    features: Words
    model: Words
    repeats: int = Field(default=1, ge=1, le=1000, strict=True)
    """Runs of each pipeline on the same folds, with seeds from `seed` on."""
    trials: int | None = Field(default=None, ge=0, strict=True)
    """Configurations that a tuner tries; 0 for the untuned one alone; None for a few, or what time allows."""
    tuner: Tuner = "optuna"
    inner_folds: int | None = Field(default=None, ge=1, le=20, strict=True)
    time_budget: Annotated[float | None, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)] = None

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


class Search(_Bench):
    """Pipelines to search through on one corpus under one protocol, within a time."""

    time_budget: Annotated[float, BeforeValidator(_seconds), Field(ge=LEAST_SEARCH, allow_inf_nan=False)]
    """Seconds for all of it."""
    features: Words | None = None
    """Feature extractors; None for every one that can be used here."""
    model: Words | None = None
    protocol: Annotated[Words, BeforeValidator(_protocols), Field(max_length=1)] = ["stratified5"]


class Fusion(Execution):
    """An ensemble: finished runs whose probabilities are fused."""

    runs: list[str] = Field(min_length=1)
    """Ids, what begins them, or folders."""
    equal: bool = False
    """Whether to take the plain mean; else a pool with weights fitted inside each fold's training clips."""
    inner_folds: int = Field(default=1, ge=1, le=20, strict=True)
    """Splits of each fold's training clips to fit the weights on; 1 is a single hold-out of a fifth."""
    data: str | None = None
    """Where the runs' corpus is now, name or path; None for where it was."""
    results: Folder = Path("results")
    plugins: list[Folder] = []
    criteria: Criteria = Criteria()


_Kind = TypeVar("_Kind", bound=_Bench)


def parse_fusion(values: Mapping[str, Any], source: str) -> Fusion:
    """Check an ensemble's keys and values, as `parse_experiment` does."""
    try:
        return Fusion.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{source}: {first_problem(error, Fusion)}") from error


def parse_experiment(values: Mapping[str, Any], source: str) -> Experiment:
    """Check an experiment's keys and values; `source` is named in errors.

    Raises:
        ConfigError: an unknown key, with the nearest known one, or a value that does not fit.
    """
    return _parsed_bench(Experiment, values, source)


def parse_search(values: Mapping[str, Any], source: str) -> Search:
    """Check a search's keys and values, as `parse_experiment` does."""
    return _parsed_bench(Search, values, source)


def _parsed_bench(kind: type[_Kind], values: Mapping[str, Any], source: str) -> _Kind:
    flat = {**values, "set": _flat(values.get("set", {}))} if "set" in values else dict(values)
    for key, value in dict(flat.get("set") or {}).items():
        if not all(key.partition(".")[::2]):
            raise ConfigError(f"{source}: set {key}: write NAME.PARAMETER, such as mfcc.n_frames")
        if not is_jsonable({key: value}):
            raise ConfigError(
                f"{source}: set {key} = {value}: text, a finite number, true, false or a list is needed"
            )
    try:
        return kind.model_validate(flat)
    except ValidationError as error:
        hint = "; name at least one of those that `bench plugins list` shows"
        raise ConfigError(f"{source}: {first_problem(error, kind, hint)}") from error


def read_experiment_file(path: Path) -> dict[str, Any]:
    """Keys and values of a TOML file; raises ConfigError if it is not valid TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """`NAME.PARAMETER=VALUE` to (NAME.PARAMETER, value); the value is TOML, or else plain text."""
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise ConfigError(f"'{text}' is no setting; write NAME.PARAMETER=VALUE, such as mfcc.n_frames=100")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def settings_table(given: Sequence[str] | None) -> dict[str, Any] | None:
    """`NAME.PARAMETER=VALUE` words as the table that a file would have; None if there are none."""
    return dict(parse_setting(text) for text in given) if given else None


def criteria_table(given: Sequence[str] | None) -> dict[str, float] | None:
    """`NAME=NUMBER` words as the table that a file would have; None if there are none; raises ConfigError."""
    table: dict[str, float] = {}
    for text in (word for item in given or () for word in item.split(",")):
        name, _, value = text.partition("=")
        try:
            table[name.strip()] = float(value)
        except ValueError as error:
            raise ConfigError(f"'{text}' is no criterion; write one such as accuracy=0.85") from error
    return table or None


def parse_criteria(given: Sequence[str] | None) -> Criteria:
    """Criteria of `NAME=NUMBER` words, the others at their defaults; raises ConfigError."""
    try:
        return Criteria.model_validate(criteria_table(given) or {})
    except ValidationError as error:
        raise ConfigError(f"criteria: {first_problem(error, Criteria)}") from error


def _flat(table: object) -> object:
    """TOML's `[set.mfcc] n_frames = 100` means the same as `set."mfcc.n_frames" = 100`."""
    if not isinstance(table, dict):
        return table
    flat: dict[str, Any] = {}
    for name, value in table.items():
        inner = value.items() if isinstance(value, dict) else None
        flat |= {name: value} if inner is None else {f"{name}.{key}": entry for key, entry in inner}
    return flat


SUFFIXES = (".toml", ".json")


def is_protocol_path(word: str) -> bool:
    """Whether a word for a protocol is a file's path, by its suffix."""
    return PurePath(word).suffix.lower() in SUFFIXES
