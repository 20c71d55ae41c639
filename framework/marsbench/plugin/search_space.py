"""Hyperparameters, declared by the calls that ask for their values (define-by-run).

The calls are those of `keras_tuner.HyperParameters`, which Keras users know. Whoever answers them decides
what they mean: `Defaults` gives every default (the untuned configuration) save for values set by hand; a
tuner answers from its trial.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from marsbench.errors import ConfigError, unknown

Scalar = bool | int | float | str
Sampling = Literal["linear", "log", "reverse_log"]
Value = TypeVar("Value", bool, int, float, str)


class HyperParameters(Protocol):
    """The part of `keras_tuner.HyperParameters` that a plugin may use."""

    def Int(  # noqa: D102 - see the class's source of names
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: Sampling | None = None,
        default: int | None = None,
    ) -> int: ...

    def Float(  # noqa: D102 - as above
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: Sampling | None = None,
        default: float | None = None,
    ) -> float: ...

    def Choice(self, name: str, values: Sequence[Value], default: Value | None = None) -> Value: ...  # noqa: D102 - as above

    def Boolean(self, name: str, default: bool = False) -> bool: ...  # noqa: D102 - as above

    def Fixed(self, name: str, value: Value) -> Value: ...  # noqa: D102 - as above

    def conditional_scope(  # noqa: D102 - as above
        self, parent_name: str, parent_values: Sequence[Scalar]
    ) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class Dimension:
    """One declared hyperparameter."""

    name: str
    default: Scalar
    choices: tuple[Scalar, ...] | None = None
    """Every allowed value, or None for a range."""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    sampling: Sampling = "linear"
    when: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()
    """(parent, values) pairs, all of which must hold for this dimension to be active."""

    def describe(self) -> str:
        """The allowed values in a few words."""
        if self.choices is not None:
            return " | ".join(str(choice) for choice in self.choices)
        extra = f", step {self.step:g}" if self.step else ""
        extra += f", {self.sampling}" if self.sampling != "linear" else ""
        return f"{self.low:g} to {self.high:g}{extra}"

    @property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers."""
        return type(self.default) is int

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Other values than the default that may lead to other declarations: choices, or ends of a range."""
        if self.choices is not None:
            return tuple(choice for choice in self.choices if choice != self.default)
        if self.low is None or self.high is None or not self.is_whole:
            return ()
        return tuple(end for end in (int(self.low), int(self.high)) if end != self.default)


class Defaults:
    """Answers every declaration with its default, or with the value given for its name.

    `values` holds the active configuration and `space` every declaration, in order.

    Args:
        by_hand: values that a user set; each must be asked for (`refuse_unused`).
        proposed: values that a tuner proposes for what is not set by hand.
    """

    def __init__(
        self, by_hand: Mapping[str, Scalar] | None = None, proposed: Mapping[str, Scalar] | None = None
    ) -> None:
        self.by_hand = dict(by_hand or {})
        self._proposed = dict(proposed or {})
        self._overrides = self._proposed | self.by_hand
        self._scopes: list[tuple[str, tuple[Scalar, ...]]] = []
        self.values: dict[str, Scalar] = {}
        self.space: list[Dimension] = []

    def Int(
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: Sampling | None = None,
        default: int | None = None,
    ) -> int:
        """Whole number from `min_value` to `max_value`, both included; the default is `min_value`."""
        first = min_value if default is None else default
        space = Dimension(name, first, None, min_value, max_value, step, sampling or "linear")
        return int(self._answer(space, int))

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: Sampling | None = None,
        default: float | None = None,
    ) -> float:
        """Number from `min_value` to `max_value`, both included; the default is `min_value`."""
        first = min_value if default is None else default
        space = Dimension(name, first, None, min_value, max_value, step, sampling or "linear")
        return float(self._answer(space, float))

    def Choice(self, name: str, values: Sequence[Value], default: Value | None = None) -> Value:
        """One of `values`; the default is the first."""
        first = values[0] if default is None else default
        return self._answer(Dimension(name, first, tuple(values)), type(first))

    def Boolean(self, name: str, default: bool = False) -> bool:
        """True or False."""
        return self._answer(Dimension(name, default, (False, True)), bool)

    def Fixed(self, name: str, value: Value) -> Value:
        """A constant that is recorded with the configuration."""
        return self._answer(Dimension(name, value, (value,)), type(value))

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Sequence[Scalar]) -> Iterator[None]:
        """Declarations inside are active only while `parent_name` has one of `parent_values`."""
        self._scopes.append((parent_name, tuple(parent_values)))
        try:
            yield
        finally:
            self._scopes.pop()

    def refuse_unused(self, model: str) -> None:
        """Raise ConfigError if a value was set by hand that nothing asked for, whatever a tuner proposed."""
        switched_off = {
            dimension.name
            for dimension in self.space
            if any(parent in self._proposed for parent, _ in dimension.when)
        }
        for name in self.by_hand:
            if name not in self.values and name not in switched_off:
                raise ConfigError(f"{model}: {unknown('parameter', name, self.values)}")

    def _answer(self, dimension: Dimension, kind: type[Value]) -> Value:
        self.space.append(_within(dimension, tuple(self._scopes)))
        given = dimension.name in self._overrides
        if all(self.values.get(parent) in allowed for parent, allowed in self._scopes):
            # A default may lie outside of what a tuner may vary: it is the author's, or was set by hand.
            value = _fitting(dimension, self._overrides[dimension.name], kind) if given else dimension.default
            self.values[dimension.name] = kind(value)
            return self.values[dimension.name]  # type: ignore[return-value]  # it is a `kind`
        return dimension.default  # type: ignore[return-value]  # inactive: its value means nothing


class OtherDefaults:
    """Asks `hp` what it is asked, with other defaults for some names.

    Args:
        hp: who answers.
        defaults: by name; `unasked` are those that nothing has asked for so far.
    """

    def __init__(self, hp: HyperParameters, defaults: Mapping[str, Any]) -> None:
        self._hp = hp
        self._defaults = defaults
        self.unasked = set(defaults)

    def Int(
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: Sampling | None = None,
        default: int | None = None,
    ) -> int:
        """As `hp` answers."""
        return self._hp.Int(name, min_value, max_value, step, sampling, self._default(name, default))

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: Sampling | None = None,
        default: float | None = None,
    ) -> float:
        """As `hp` answers."""
        return self._hp.Float(name, min_value, max_value, step, sampling, self._default(name, default))

    def Choice(self, name: str, values: Sequence[Value], default: Value | None = None) -> Value:
        """As `hp` answers."""
        chosen: Value | None = self._default(name, default)
        return self._hp.Choice(name, values, chosen)

    def Boolean(self, name: str, default: bool = False) -> bool:
        """As `hp` answers."""
        return self._hp.Boolean(name, self._default(name, default))

    def Fixed(self, name: str, value: Value) -> Value:
        """As `hp` answers; a constant has no default."""
        return self._hp.Fixed(name, value)

    def conditional_scope(
        self, parent_name: str, parent_values: Sequence[Scalar]
    ) -> AbstractContextManager[None]:
        """That of `hp`."""
        return self._hp.conditional_scope(parent_name, parent_values)

    def _default(self, name: str, default: Any) -> Any:
        self.unasked.discard(name)
        return self._defaults.get(name, default)


Declare = Callable[[HyperParameters], object]


def explore(declare: Declare, by_hand: Mapping[str, Scalar] | None = None) -> tuple[Dimension, ...]:
    """Every dimension that `declare` asks for under some values, each behind those that it depends on.

    Found by asking again with each choice and each end of a range in turn: what is declared under no
    `conditional_scope` but in one branch of the code alone is found too, if one such value leads there.
    A value under which `declare` fails leads nowhere; the defaults must not fail.
    """
    found: dict[tuple[str, object], Dimension] = {}
    waiting: list[dict[str, Scalar]] = [{}]
    n_asked = 0
    while waiting and n_asked < _MOST_ASKED:
        proposed = waiting.pop(0)
        answers = Defaults(by_hand, proposed)
        n_asked += 1
        try:
            declare(answers)
        except Exception:
            if not proposed:
                raise
            continue
        for dimension in answers.space:
            key = dimension.name, dimension.when
            if key not in found:
                found[key] = dimension
                leads = {parent: allowed[0] for parent, allowed in dimension.when}
                waiting += [{**proposed, **leads, dimension.name: end} for end in dimension.ends]
    return tuple(found.values())


_MOST_ASKED = 100
"""A network takes some 0.1 s to declare itself."""

_WORDS: dict[type[Scalar], str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}


def _within(dimension: Dimension, scopes: tuple[tuple[str, tuple[Scalar, ...]], ...]) -> Dimension:
    return replace(dimension, when=scopes) if scopes else dimension


def _fitting(dimension: Dimension, value: Scalar, kind: type[Scalar]) -> Scalar:
    """`value` as a `kind`, refusing what the declaration cannot mean; of a range, only the sign binds."""
    if dimension.choices is not None:
        fits = any(type(value) is type(choice) and value == choice for choice in dimension.choices)
    else:
        fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        wanted = "one of these" if dimension.choices else _WORDS[kind]
        raise ConfigError(f"{dimension.name} = {value!r}: {wanted} is needed; {dimension.describe()}")
    if dimension.low is not None and isinstance(value, (int, float)):
        _require_sign(dimension, value)
    return value


def _require_sign(dimension: Dimension, value: float) -> None:
    """A hand may leave a tuner's range, but a range above 0 means that nothing else makes sense."""
    low = dimension.low or 0
    if value < 0 <= low or value == 0 < low:
        sign = "above 0" if low > 0 else "of at least 0"
        raise ConfigError(f"{dimension.name} = {value!r}: a value {sign} is needed; {dimension.describe()}")
