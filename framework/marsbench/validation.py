"""What pydantic found wrong with a file or an option, as one line."""

import reprlib
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from marsbench.errors import unknown

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def first_problem(
    error: ValidationError,
    model: type[BaseModel],
    source: str = "",
    typed: Mapping[str, object] | None = None,
    if_missing: str = "",
) -> str:
    """The first wrong key, with the nearest known one, or value of what should have been a `model`.

    Args:
        error: what pydantic found.
        model: what should have been read.
        source: the file or function that gave the values; empty for a command line alone.
        typed: what came from a command line, by key; it is named as an option.
        if_missing: added where a key is missing.
    """
    # A misspelt key also counts as a missing one: what is there and wrong says more than what is not there.
    first = min(error.errors(), key=lambda problem: problem["type"] == "missing")
    keys = [str(part) for part in first["loc"] or ("a key",)]
    place = shown(".".join(keys))
    if first["type"] == "missing":
        return (
            f"{source}: '{place}' is missing{if_missing}" if source else f"--{place} is missing{if_missing}"
        )
    if first["type"] == "extra_forbidden":
        fields = _inside(model, keys[:-1]).model_fields.items()
        problem = unknown("key", shown(keys[-1]), [field.alias or name for name, field in fields])
        place = ""
    else:
        problem = _reason(first)
        place = f"{place} = {_SHORT.repr(first['input'])}: "
    if typed and keys[0] in typed:
        return f"--{keys[0]} {_as_typed(typed[keys[0]])}: {problem}"
    return f"{source}: {place}{problem}"


def _as_typed(value: object) -> str:
    return shown(", ".join(map(str, value)) if isinstance(value, list) else str(value)) or "''"


def _reason(problem: ErrorDetails) -> str:
    """Pydantic's message as the end of a line."""
    if problem["type"] == "too_long":
        limits = problem["ctx"]
        return f"at most {limits['max_length']} may be given, not {limits['actual_length']}"
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{text[0].lower()}{text[1:]}"


def shown(text: str) -> str:
    """Text of a file as a line on a screen may hold it: not too long, no control characters."""
    return text if is_plain(text) and len(text) <= _SHORT.maxstring else _SHORT.repr(text)[1:-1]


def shown_path(path: str | Path) -> str:
    """A path as a line on a screen may hold it, whole unless it has control characters."""
    return str(path) if is_plain(str(path)) else shown(str(path))


def is_plain(text: str) -> bool:
    """Whether text has no line ends, control characters or the like, by which it could pose as more."""
    return not any(unicodedata.category(letter) in _NOT_PLAIN for letter in text)


_NOT_PLAIN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _inside(model: type[BaseModel], keys: Iterable[str]) -> type[BaseModel]:
    """The model that stands at `keys` of another."""
    for key in keys:
        annotation = model.model_fields[key].annotation
        model = next(kind for kind in (annotation, *get_args(annotation)) if _is_model(kind))
    return model


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
