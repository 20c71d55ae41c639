"""What one option is: the field of a model, and the texts that a command line has for its values.

The types that options share (`Words`, `Folder`, `Seconds`, ...) say here how a text is read as a value. The
models whose fields are the options are in `config`.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import get_annotations
from math import isfinite
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Self, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from marsbench.errors import ConfigError, first_problem
from marsbench.hashing import is_jsonable


@dataclass(frozen=True)
class Hint:
    """What a command line needs to know of a field beside its name, type, default and description."""

    metavar: str = ""
    """What stands for the value in a help text; empty for the choices of a `Literal`."""
    if_none: str = ""
    """What None means, in words."""
    texts: Callable[[Any], list[str]] | None = None
    """The texts that are read as a value; None where each is `str` of the value, or of an item of it."""
    is_argument: bool = False
    """Whether it stands on a command line without its name."""
    is_hidden: bool = False
    """Whether no user gives it."""


class Option(NamedTuple):
    """One field of a model, as commands, functions and files see it."""

    name: str
    field: FieldInfo
    hint: Hint

    @property
    def key(self) -> str:
        """The name in a TOML file, and behind the two dashes of a command line."""
        return self.field.alias or self.name

    @property
    def kind(self) -> Any:
        """The field's type, without None and what a container holds: `int`, `list`, `Literal`, a model."""
        kind = _without_none(self.field.annotation)
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        return get_origin(kind) or kind

    @property
    def is_repeated(self) -> bool:
        """Whether a command line may have it several times."""
        if any(getattr(limit, "max_length", None) == 1 for limit in self.field.metadata):
            return False
        return self.kind in {list, dict} or (isinstance(self.kind, type) and issubclass(self.kind, BaseModel))

    @property
    def metavar(self) -> str:
        """What stands for the value in a help text."""
        choices = get_args(_without_none(self.field.annotation)) if self.kind is Literal else ()
        return self.hint.metavar or "|".join(choices)

    @property
    def default(self) -> str:
        """What applies if the option is not given, in words; empty if nothing does."""
        value = self.field.default
        if value is None:
            return self.hint.if_none
        return "" if self.field.is_required() or value is False else ", ".join(self.texts(value))

    def texts(self, value: Any) -> list[str]:
        """The texts of a command line that are read as `value`."""
        if self.hint.texts:
            return self.hint.texts(value)
        return [str(item) for item in (value if isinstance(value, list) else [value])]


def options_of(model: type[BaseModel]) -> dict[str, Option]:
    """The options of a model, by name: its own fields first, then those of its bases, from left to right."""
    names = dict.fromkeys(name for kind in model.__mro__ for name in get_annotations(kind))
    fields = {name: model.model_fields[name] for name in names if name in model.model_fields}
    found = {name: Option(name, field, _hint(field)) for name, field in fields.items()}
    return {name: option for name, option in found.items() if not option.hint.is_hidden}


def _hint(field: FieldInfo) -> Hint:
    """The field's own, else that of its type; the last of several, which is the outermost."""
    notes = [*getattr(_without_none(field.annotation), "__metadata__", ()), *field.metadata]
    return next((note for note in reversed(notes) if isinstance(note, Hint)), Hint())


def _without_none(kind: Any) -> Any:
    """`X` of `X | None`."""
    if get_origin(kind) not in {Union, UnionType}:
        return kind
    (kind,) = (one for one in get_args(kind) if one is not NoneType)
    return kind


class Options(BaseModel):
    """Base of the models whose fields are options; a TOML file has `-` where a name has `_`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def parse(
        cls, values: Mapping[str, Any], source: str = "", typed: Mapping[str, Any] | None = None
    ) -> Self:
        """Check keys and values.

        Args:
            values: those of a file or of a call.
            source: the file or the function, named in errors; empty if there is neither.
            typed: what was given on a command line, by key; it wins over `values`, tables key by key.

        Raises:
            ConfigError: an unknown key, with the nearest known one, or a value that does not fit.
        """
        merged = dict(values)
        for key, value in (typed or {}).items():
            is_table = isinstance(value, list) and isinstance(merged.get(key), dict)
            merged[key] = [merged[key], *value] if is_table else value
        merged |= dict.fromkeys(cls._said_to_be_none(merged))
        try:
            return cls.model_validate(merged)
        except (OverflowError, RecursionError) as error:
            raise ConfigError(f"{source}: a number is too large, or a value is nested too deeply") from error
        except ValidationError as error:
            hint = "; `bench plugins list` shows what there is"
            raise ConfigError(first_problem(error, cls, source, typed, hint)) from error

    @classmethod
    def _said_to_be_none(cls, values: Mapping[str, Any]) -> list[str]:
        """The keys whose value is the word that a help text has for None."""
        options = [one for one in options_of(cls).values() if one.field.default is None]
        keys = {key for one in options if one.hint.if_none == "none" for key in (one.name, one.key)}
        return [key for key in keys & values.keys() if isinstance(values[key], str) and values[key] == "none"]


def _words(value: object) -> object:
    """One word, several with commas between, or a list of such."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not all(isinstance(item, str) for item in given):
        return value
    return list(dict.fromkeys(word.strip() for item in given for word in item.split(",") if word.strip()))


def _folder(value: object) -> object:
    """A path with `~` as shells have it; an empty one is no path."""
    if value == "":
        raise ValueError("a folder is needed")
    return Path(value).expanduser() if isinstance(value, (str, Path)) else value


def _protocol(word: str) -> str:
    """A name, or a file's path made absolute, so that it is found from any folder."""
    if not is_protocol_path(word):
        return word
    try:
        return str(Path(word).expanduser().absolute())
    except RuntimeError as error:
        raise ValueError("no such user's home folder") from error


def is_protocol_path(word: str) -> bool:
    """Whether a word for a protocol is a file's path, by its suffix."""
    return PurePath(word).suffix.lower() in {".toml", ".json"}


def _share(value: object) -> object:
    """A share from 0 to 1; a percentage is answered with the share that was probably meant."""
    if isinstance(value, (int, float)) and 1 < value <= 100:
        raise ValueError(f"a share from 0 to 1 is needed; write {value / 100:g}?")
    return value


def seconds(value: object) -> object:
    """Seconds that a text such as `90s`, `30m`, `2h` or `1h30m` says; what is no text is left as it is.

    Raises:
        ValueError: another text. A number without a unit is refused, not guessed at.
    """
    wanted = "a time such as 90s, 30m, 2h or 1h30m is needed"
    return _amount(value, _SECONDS, wanted, "{0}s, {0}m or {0}h") if isinstance(value, str) else value


def _seconds_texts(value: float) -> list[str]:
    unit = next((unit for unit in "hm" if value % _SECONDS[unit] == 0 and value < _EXACT), "s")
    return [f"{repr(float(value / _SECONDS[unit])).removesuffix('.0')}{unit}"]


_EXACT = 2.0**53
"""Numbers below it are whole to the last digit."""


def size(value: object) -> object:
    """Bytes that a text such as `500MB`, `4GB` (powers of 1000) or `2GiB` (of 1024) says, as `seconds`."""
    wanted = "a size such as 500MB, 4GB or 2GiB is needed"
    return int(_amount(value, _BYTES, wanted, "{0}MB or {0}GB")) if isinstance(value, str) else value


def _amount(text: str, units: Mapping[str, float], wanted: str, examples: str) -> float:
    """The sum of all numbers, each times its unit; finite."""
    text = text.strip().lower()
    if len(text) > _LONGEST:  # the time to read it grows with the square
        raise ValueError(wanted)
    if re.fullmatch(_NUMBER, text):
        raise ValueError(f"{text} what? Write {examples.format(text)}")
    parts = re.findall(_PART, text)
    if not re.fullmatch(rf"({_PART})+", text) or any(unit not in units for _, unit in parts):
        raise ValueError(wanted)
    total = sum(float(number) * units[unit] for number, unit in parts)
    if not isfinite(total):
        raise ValueError(wanted)
    return total


_LONGEST = 100
_NUMBER = r"\d+\.?\d*(?:e[+-]?\d+)?"
_PART = rf"\s*({_NUMBER})\s*([a-z]+)"
_SECONDS = {"ms": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_PREFIXES |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_BYTES = {prefix + unit: factor for prefix, factor in _PREFIXES.items() for unit in ("", "b")}


def _settings(value: object) -> object:
    """One flat table of tables, nested or not, and of texts NAME.PARAMETER=VALUE; what comes later wins."""
    table: dict[str, Any] = {}
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, (str, dict)):
            return value
        table |= dict([read_setting(item)]) if isinstance(item, str) else _flat(item)
    for key, entry in table.items():
        if not all(key.partition(".")[::2]):
            raise ValueError(f"{key}: write NAME.PARAMETER, such as mfcc.n_frames")
        if not is_jsonable({key: entry}):
            raise ValueError(f"{key} = {entry}: text, a finite number, true, false or a list is needed")
    return table


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    """TOML's `[set.mfcc] n_frames = 100` means the same as `set."mfcc.n_frames" = 100`."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        is_plugin = isinstance(value, dict) and "." not in name  # else a parameter whose value is a table
        flat |= {f"{name}.{key}": entry for key, entry in value.items()} if is_plugin else {name: value}
    return flat


def read_toml(text: str) -> dict[str, Any]:
    """Keys and values of TOML, within what every reader of TOML takes.

    Raises:
        tomllib.TOMLDecodeError: it is not valid TOML.
        ValueError: an integer has more than 64 bits, or values are nested more than 32 levels deep.
    """
    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # Python's limit of digits
        raise ValueError(_TOO_LARGE) from error
    values: list[Any] = [found]
    for _ in range(_MOST_LEVELS):
        inside = (item.values() if isinstance(item, dict) else item for item in values)
        values = [item for items in inside for item in items]
        if any(isinstance(item, int) and item not in _INTEGERS for item in values):
            raise ValueError(_TOO_LARGE)
        values = [item for item in values if isinstance(item, (dict, list))]
    if values:
        raise ValueError(_TOO_DEEP)
    return found


_MOST_LEVELS, _INTEGERS = 32, range(-(2**63), 2**63)
_TOO_DEEP = f"values are nested too deeply, {_MOST_LEVELS} levels are the most"
_TOO_LARGE = "an integer has more than 64 bits"


def read_setting(text: str) -> tuple[str, Any]:
    """`NAME.PARAMETER=VALUE` to (NAME.PARAMETER, value); the value is TOML, or else plain text.

    Raises:
        ValueError: it has another form, or a value that `read_toml` refuses.
    """
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise ValueError("write NAME.PARAMETER=VALUE, such as mfcc.n_frames=100")
    try:
        read = read_toml(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value
    return key.strip(), read["value"] if len(read) == 1 else value  # several lines are text


def setting_text(name: str, value: object) -> str:
    """`NAME.PARAMETER=VALUE`, from which `read_setting` gets the same.

    Raises:
        ValueError: TOML has no such value.
    """
    if isinstance(value, str) and _BARE.fullmatch(value) and read_setting(f"{name}={value}")[1] == value:
        return f"{name}={value}"
    return f"{name}={toml_text(value)}"


_BARE = re.compile(r"[A-Za-z_/][\w./+-]*", re.ASCII)
"""Texts that need quotes in no shell."""


def toml_text(value: object) -> str:
    """A value as TOML writes it, in one line; raises ValueError if TOML has no such value."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str | int):
        # As in JSON, which escapes what TOML does, but for this one.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_text(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml_text(key)} = {toml_text(item)}' for key, item in value.items())}}}"
    raise ValueError(value)


def thresholds(value: object) -> object:
    """One table of tables and of texts NAME=NUMBER, commas between several; what comes later wins."""
    table: dict[str, Any] = {}
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, (str, dict)):
            return value
        table |= dict(map(_threshold, item.split(","))) if isinstance(item, str) else item
    return table


def _threshold(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError as error:
        raise ValueError("write NAME=NUMBER, such as accuracy=0.85") from error


Words = Annotated[list[str], BeforeValidator(_words), Field(min_length=1), Hint("NAME,...")]
Folder = Annotated[Path, BeforeValidator(_folder), Hint("DIR")]
Protocols = Annotated[
    Words,
    AfterValidator(lambda words: [_protocol(word) for word in words]),
    Field(description="How the corpus is split: a name of `bench protocols list`, or a .toml or .json file."),
    Hint("NAME|FILE"),
]
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
Seconds = Annotated[
    float, BeforeValidator(seconds), Field(gt=0, allow_inf_nan=False), Hint("TIME", "none", _seconds_texts)
]
Size = Annotated[
    int,
    BeforeValidator(size),
    Field(gt=0),
    Hint("SIZE", "an even share of the machine's", lambda value: [f"{value}B"]),
]
Settings = Annotated[
    dict[str, Any],
    BeforeValidator(_settings),
    Hint("NAME.PARAM=VALUE", texts=lambda value: [setting_text(*setting) for setting in value.items()]),
]
