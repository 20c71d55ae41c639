"""How a corpus is read, as options: what names its speakers and classes, and which classes are used."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from marsbench.errors import shown, unknown
from marsbench.hashing import slug
from marsbench.options import Hint, Options, read_toml, toml_text


def _expression(text: str) -> str:
    if not text:
        raise ValueError("an expression is needed")
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return text


def _table(value: object) -> object:
    """One table of tables and of texts `FROM=TO,FROM=TO`; what comes later wins."""
    table: dict[str, Any] = {}
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, (str, dict)):
            return value
        pairs = read_pairs(item) if isinstance(item, str) else item
        table |= {str(key): "" if name is None else name for key, name in pairs.items()}
    return table


def read_pairs(text: str) -> dict[str, Any]:
    """`FROM=TO,FROM=TO` as a table, or an inline table of TOML, for names with commas or equals signs.

    Raises:
        ValueError: it is neither, or has a name twice on the left.
    """
    if text.lstrip().startswith("{"):
        return dict(read_toml(f"value = {text}")["value"])
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if not pairs or not all(equals and name for name, (_, equals, _) in zip(names, pairs, strict=True)):
        raise ValueError("write FROM=TO, such as happiness=happy,boredom= (nothing leaves the class out)")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the class '{repeated[0]}' is given twice")
    return {name: value.strip() for name, (_, _, value) in zip(names, pairs, strict=True)}


def pair_texts(table: dict[str, str]) -> list[str]:
    """The text from which `read_pairs` gets a table; none for an empty one."""
    words = [*table, *table.values()]
    is_plain = all(table) and all(word == word.strip() and "," not in word for word in words)
    if is_plain and not any(set(key) & {"=", "{"} for key in table):
        return [",".join(f"{key}={name}" for key, name in table.items())] if table else []
    return [toml_text(table)]


def _names(value: object) -> object:
    """Names of a text with commas between, or that is a list of TOML, for names with commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return read_toml(f"value = {value}")["value"]
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the class '{shown(repeated[0])}' is given twice")
    return names


def _name_texts(names: Sequence[str]) -> list[str]:
    text = ",".join(names)
    is_plain = not text.lstrip().startswith("[") and _names(text) == tuple(names)
    return [text if is_plain else toml_text(names)]


def _corpus_name(name: str) -> str:
    if name != slug(name):
        raise ValueError(f"a name of a-z, 0-9, - and _ is needed, such as {slug(name)}")
    return name


Expression = Annotated[str, AfterValidator(_expression), Hint("REGEX")]
Pairs = Annotated[dict[str, str], BeforeValidator(_table), Hint("FROM=TO,...", texts=pair_texts)]
ClassNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    AfterValidator(_once),
    Field(min_length=1),
    Hint("NAME,...", "all", _name_texts),
]


COLUMNS = ("path", "label", "speaker", "split", "start", "end", "duration")
"""What a column of a table of clips can be; all others become attributes of the clips."""


def _columns(value: object) -> object:
    try:
        table = _table(value)
    except ValueError as error:
        raise ValueError("write ROLE=NAME, such as path=Filename,label=Emotion") from error
    for role in table if isinstance(table, dict) else ():
        if role not in COLUMNS:
            raise ValueError(f"{unknown('column', role, COLUMNS)} Write ROLE=NAME, such as path=Filename")
    return table


Columns = Annotated[dict[str, str], BeforeValidator(_columns), Hint("ROLE=NAME,...", texts=pair_texts)]


Channel = Literal["mix", "left", "right"]


class Reading(Options):
    """How a corpus is read, whichever dataset plugin lists its clips; see `data.reading.apply_reading`."""

    speaker: Expression | None = None
    """Expression whose first group, found in a clip's path below the data's folder, is its speaker."""
    label: Expression | None = None
    """Expression whose first group, found in a clip's path, is its class; folders need not be classes."""
    columns: Columns = Field(default={})
    """Columns of a table by role: path, label, speaker, split, start, end, duration; empty: none."""
    map: Pairs = Field(default={})
    """New names of classes; equal names join classes, an empty one leaves the class out."""
    classes: ClassNames | None = None
    """Only these classes, in this order."""
    min_clips: Annotated[int, Hint("N")] = Field(default=1, ge=1, strict=True)
    """Leave out classes with fewer clips."""
    channel: Channel = "mix"
    """The channel of stereo files that is read; mix averages all."""
    name: Annotated[str, AfterValidator(_corpus_name), Hint("NAME")] | None = None
    """The corpus's name, in results and tables."""

    @property
    def reading(self) -> "Reading":
        """These options alone."""
        return Reading(**{name: getattr(self, name) for name in Reading.model_fields})


AS_LISTED = Reading()
"""As the dataset plugin lists it."""
