"""Hyperparameters, declared by the calls that request their values (define-by-run).

The calls are those of `keras_tuner.HyperParameters`. `Defaults` returns defaults (the untuned configuration)
and values that a user set; a tuner returns the values of its trial.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from marsbench.errors import ConfigError, unknown
from marsbench.plugin.base import TYPE_NAMES

Scalar = bool | int | float | str
Sampling = Literal["linear", "log", "reverse_log"]
Value = TypeVar("Value", bool, int, float, str)


class HyperParameters(Protocol):
    """The part of `keras_tuner.HyperParameters` that a plugin may use."""

    def Int(  # noqa: D102 - documented by KerasTuner
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
    """A declared hyperparameter."""

    name: str
    default: Scalar
    choices: tuple[Scalar, ...] | None = None
    """All allowed values, or None for a range from `low` to `high`."""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    sampling: Sampling = "linear"
    when: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()
    """Conditions (parent, values), all of which must hold for this hyperparameter to be active."""

    def describe(self) -> str:
        """The allowed values as text, such as `0.1 to 10, log`."""
        if self.choices is not None:
            return " | ".join(str(choice) for choice in self.choices)
        extra = f", step {self.step:g}" if self.step else ""
        extra += f", {self.sampling}" if self.sampling != "linear" else ""
        return f"{self.low:g} to {self.high:g}{extra}"

    @property
    def is_whole(self) -> bool:
        """Whether the values are integers."""
        return type(self.default) is int

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Values other than the default under which others may be declared: choices, or ends of a range."""
        if self.choices is not None:
            return tuple(choice for choice in self.choices if choice != self.default)
        if self.low is None or self.high is None or not self.is_whole:
            return ()
        return tuple(end for end in (int(self.low), int(self.high)) if end != self.default)


class Defaults:
    """Returns the default of every declaration, or the value given for its name.

    `values` collects the active configuration and `space` all declarations, in order.

    Args:
        by_hand: values that a user set; `refuse_unused` checks that each was declared.
        proposed: values that a tuner proposes for hyperparameters that are not set by hand.
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
        """Integer from `min_value` to `max_value`, both included; the default is `min_value`."""
        first = min_value if default is None else default
        range_ = Dimension(name, first, None, min_value, max_value, step, sampling or "linear")
        return int(self._declare(range_, int))

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: Sampling | None = None,
        default: float | None = None,
    ) -> float:
        """Float from `min_value` to `max_value`, both included; the default is `min_value`."""
        first = min_value if default is None else default
        range_ = Dimension(name, first, None, min_value, max_value, step, sampling or "linear")
        return float(self._declare(range_, float))

    def Choice(self, name: str, values: Sequence[Value], default: Value | None = None) -> Value:
        """One of `values`; the default is the first."""
        first = values[0] if default is None else default
        return self._declare(Dimension(name, first, tuple(values)), type(first))

    def Boolean(self, name: str, default: bool = False) -> bool:
        """True or False."""
        return self._declare(Dimension(name, default, (False, True)), bool)

    def Fixed(self, name: str, value: Value) -> Value:
        """A constant that is recorded with the configuration."""
        return self._declare(Dimension(name, value, (value,)), type(value))

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Sequence[Scalar]) -> Iterator[None]:
        """Declarations inside are active only while `parent_name` has one of `parent_values`."""
        self._scopes.append((parent_name, tuple(parent_values)))
        try:
            yield
        finally:
            self._scopes.pop()

    def refuse_unused(self, model: str) -> None:
        """Raise ConfigError if a value was set by hand that no declaration uses under any proposed values."""
        used = {*self.values}
        used |= {d.name for d in self.space if any(parent in self._proposed for parent, _ in d.when)}
        for name in self.by_hand:
            if name not in used:
                raise ConfigError(f"{model}: {unknown('parameter', name, self.values)}")

    def _declare(self, dimension: Dimension, kind: type[Value]) -> Value:
        self.space.append(replace(dimension, when=tuple(self._scopes)))
        given = dimension.name in self._overrides
        if all(self.values.get(parent) in allowed for parent, allowed in self._scopes):
            # Defaults are not checked: an author may choose one outside the range that a tuner varies.
            value = _checked(dimension, self._overrides[dimension.name], kind) if given else dimension.default
            self.values[dimension.name] = kind(value)
            return self.values[dimension.name]  # type: ignore[return-value]  # it is a `kind`
        return dimension.default  # type: ignore[return-value]  # inactive: the value is not used


def _with_other_default(method: str) -> Callable[..., Any]:
    def declare(self: "OtherDefaults", name: str, *arguments: Any, **options: Any) -> Any:
        self.undeclared.discard(name)
        other = {"default": self.defaults[name]} if name in self.defaults else {}
        return getattr(self.hp, method)(name, *arguments, **options | other)

    return declare


class OtherDefaults:
    """Forwards declarations to `hp`, with other defaults for some names.

    Args:
        hp: where to forward; defaults must be given to the methods by keyword.
        defaults: by name; `undeclared` are the names that were not declared so far.
    """

    Int = _with_other_default("Int")
    Float = _with_other_default("Float")
    Choice = _with_other_default("Choice")
    Boolean = _with_other_default("Boolean")

    def __init__(self, hp: HyperParameters, defaults: Mapping[str, Any]) -> None:
        self.hp = hp
        self.defaults = defaults
        self.undeclared = set(defaults)
        self.Fixed = hp.Fixed  # has no default
        self.conditional_scope = hp.conditional_scope


Declare = Callable[[HyperParameters], object]


def explore(declare: Declare, by_hand: Mapping[str, Scalar] | None = None) -> tuple[Dimension, ...]:
    """All hyperparameters that `declare` declares, each after those that it depends on.

    `declare` is called again with each choice and each end of a range. So hyperparameters that are declared
    in one branch of the code, without a `conditional_scope`, are found too if one such value leads there.
    Values under which `declare` raises are skipped; with the defaults it must not raise.
    """
    found: dict[tuple[str, object], Dimension] = {}
    waiting: list[dict[str, Scalar]] = [{}]
    for _ in range(_MAX_CALLS):
        if not waiting:
            break
        proposed = waiting.pop(0)
        hp = Defaults(by_hand, proposed)
        try:
            declare(hp)
        except Exception:
            if not proposed:
                raise
            continue
        for dimension in hp.space:
            key = dimension.name, dimension.when
            if key not in found:
                found[key] = dimension
                parents = {parent: allowed[0] for parent, allowed in dimension.when}
                waiting += [{**proposed, **parents, dimension.name: end} for end in dimension.ends]
    return tuple(found.values())


_MAX_CALLS = 100
"""Declaring a network takes about 0.1 s."""


def _checked(dimension: Dimension, value: Scalar, kind: type[Scalar]) -> Scalar:
    """`value` if it has the right type and sign or is one of the choices; a range may be left."""
    if dimension.choices is not None:
        fits = any(type(value) is type(choice) and value == choice for choice in dimension.choices)
    else:
        fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        wanted = "one of these" if dimension.choices else TYPE_NAMES[kind]
        raise ConfigError(f"{dimension.name} = {value!r}: {wanted} is needed; {dimension.describe()}")
    low = dimension.low
    # Users may leave a tuner's range, but not go below 0 where the range is above.
    if low is not None and not isinstance(value, str) and (value < 0 <= low or value == 0 < low):
        sign = "above 0" if low > 0 else "of at least 0"
        raise ConfigError(f"{dimension.name} = {value!r}: a value {sign} is needed; {dimension.describe()}")
    return value
