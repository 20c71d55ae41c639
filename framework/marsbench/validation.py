"""Texts of options as values, and what pydantic found wrong with a value, as one line."""

import re
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping
from math import isfinite
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
    return f"{shown(place)} = {_SHORT.repr(first['input'])}: {reason(first['msg'])}"


def reason(message: str) -> str:
    """A message of pydantic's as the end of a line."""
    text = message.removeprefix("Value error, ")
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


def seconds(text: str) -> float:
    """Seconds that `90s`, `30m`, `2h` or `1h30m` says.

    Raises:
        ValueError: it is no such text. A number without a unit is refused, not guessed at.
    """
    return _amount(text, _SECONDS, "a time such as 90s, 30m, 2h or 1h30m is needed", "{0}s, {0}m or {0}h")


def size(text: str) -> int:
    """Bytes that `500MB`, `4GB` (powers of 1000) or `2GiB` (of 1024) says; raises ValueError as `seconds`."""
    units = {unit + end: factor for unit, factor in _BYTES.items() for end in ("", "b")}
    return int(_amount(text, units, "a size such as 500MB, 4GB or 2GiB is needed", "{0}MB or {0}GB"))


def _amount(text: str, units: Mapping[str, float], wanted: str, examples: str) -> float:
    """The sum of all numbers, each times its unit; finite."""
    text = text.strip().lower()
    if re.fullmatch(_NUMBER, text):
        raise ValueError(f"{text} what? Write {examples.format(text)}")
    parts = re.findall(_PART, text)
    if not re.fullmatch(rf"({_PART})+", text) or any(unit not in units for _, unit in parts):
        raise ValueError(wanted)
    total = sum(float(number) * units[unit] for number, unit in parts)
    if not isfinite(total):
        raise ValueError(wanted)
    return total


_NUMBER = r"\d+\.?\d*(?:e[+-]?\d+)?"
_PART = rf"\s*({_NUMBER})\s*([a-z]+)"
_SECONDS = {"ms": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_BYTES = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40
}  # fmt: skip
