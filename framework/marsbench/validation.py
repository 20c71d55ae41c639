"""What pydantic found wrong with a file, as one line."""

import reprlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError

from marsbench.errors import unknown

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def first_problem(error: ValidationError, model: type[BaseModel], if_missing: str = "") -> str:
    """The first wrong key, with the nearest known one, or value of what should have been a `model`.

    `if_missing` is added where a key is missing.
    """
    # A misspelt key also counts as a missing one: what is there and wrong says more than what is not there.
    first = min(error.errors(), key=lambda problem: problem["type"] == "missing")
    *above, last = (str(part) for part in first["loc"] or ("a key",))
    place = ".".join([*above, last])
    if first["type"] == "extra_forbidden":
        fields = _inside(model, above).model_fields.items()
        return unknown("key", shown(last), [field.alias or name for name, field in fields])
    if first["type"] == "missing":
        return f"'{place}' is missing{if_missing}"
    return f"{shown(place)} = {_SHORT.repr(first['input'])}: {first['msg'][0].lower()}{first['msg'][1:]}"


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
