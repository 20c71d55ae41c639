"""Options of `marsbench.run`, `search` and `ensemble`: types, signature and docstring.

Type checkers cannot derive the types from the models of `config`, so they are repeated here; a test holds the
two equal.
"""

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, cleandoc, signature
from textwrap import fill
from typing import Any, Literal, Required, TypedDict, TypeVar, get_args, get_type_hints

from marsbench.config import Criteria, Normalise, Objective
from marsbench.data.tables import place_of
from marsbench.errors import ConfigError, unknown
from marsbench.options import Option, Options, options_of

Names = str | Sequence[str]
"""One name, several with commas between, or a list."""
Folder = str | os.PathLike[str]
Data = Folder | Any
"""A name, a path, a data frame (path, label, speaker, ...), or a `datasets.Dataset` with audio."""


class _Shared(TypedDict, total=False):
    results: Folder
    plugins: Sequence[Folder]
    criteria: Criteria | Mapping[str, float]
    independent_clips: bool
    workers: int | None
    cluster: str | None
    unit_timeout: str | float | None
    unit_memory: str | int | None


class _Bench(_Shared, total=False):
    data: Data | Sequence[Data]
    speaker: str | None
    label: str | None
    columns: Mapping[str, str] | str
    map: Mapping[str, str] | str
    classes: Names | None
    min_clips: int
    channel: Literal["mix", "left", "right"]
    name: str | None
    seed: int
    set: Mapping[str, Any]
    bad_audio: Literal["skip", "fail"]
    objective: Objective
    versions: Names | None
    average_versions: bool
    threads: int


class RunOptions(_Bench, total=False):
    """Options of `marsbench.run`."""

    features: Required[Names]
    model: Required[Names]
    normalise: Normalise | None
    protocol: Names
    repeats: int
    trials: int | None
    tuner: str
    inner_folds: int | None
    time_budget: str | float | None


class SearchOptions(_Bench, total=False):
    """Options of `marsbench.search`."""

    features: Names | None
    model: Names | None
    protocol: str
    time_budget: str | float
    hold_out_speakers: Names | int | None
    hold_out_clips: float | None


class EnsembleOptions(_Shared, total=False):
    """Options of `marsbench.ensemble`."""

    choose: bool
    protocol: str | None
    equal: bool
    inner_folds: int
    data: Data | Sequence[Data] | None


_Model = TypeVar("_Model", bound=Options)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def asked_for(model: type[_Model], values: Mapping[str, Any], function: str) -> _Model:
    """A model of the values that a function was called with; None stands for the default.

    Raises:
        ConfigError: an option that does not exist, with the nearest one, or a value that does not fit.
    """
    known = options_of(model)
    for name in values:
        if name not in known:
            raise ConfigError(f"{function}: {unknown('option', name, known)}")
    given = {name: value for name, value in values.items() if value is not None}
    if "data" in given:
        given["data"] = places_of(given["data"])
    return model.parse({name: plain(value) for name, value in given.items()}, function)


def places_of(data: Any) -> Any:
    """`place_of` data, or of each of several in a list."""
    return [place_of(one) for one in data] if isinstance(data, (list, tuple)) else place_of(data)


def plain(value: Any) -> Any:
    """The value as a file would have it: NumPy's numbers and arrays, tuples, paths, whatever is an index."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if hasattr(value, "__index__") and not isinstance(value, (bool, int)):
        return operator.index(value)
    return value


def takes(model: type[Options]) -> Callable[[_Function], _Function]:
    """Show the options of a model in a function's signature and docstring, in place of `**options`."""
    options = [option for option in options_of(model).values() if not option.hint.is_argument]

    def decorate(function: _Function) -> _Function:
        own = signature(function)
        (types,) = get_args(get_type_hints(function)["options"])
        hints = get_type_hints(types)
        made = [_parameter(option, hints.get(option.name, option.field.annotation)) for option in options]
        others = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        parameters = sorted([*made, *others], key=lambda one: one.kind)
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        lines = cleandoc(function.__doc__ or "").split("\n")
        place = next(number for number, line in enumerate(lines) if line.startswith("    **options: "))
        function.__doc__ = "\n".join([*lines[:place], *map(_entry, options), *lines[place + 1 :]])
        return function

    return decorate


def _parameter(option: Option, hint: Any) -> Parameter:
    default = Parameter.empty if option.field.is_required() else option.field.default
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _entry(option: Option) -> str:
    """The option's lines below `Args:`."""
    default = f" Default: {option.default}." if option.default else ""
    text = f"{option.name}: {option.field.description}{default}"
    return fill(text, 106, initial_indent="    ", subsequent_indent="        ")
