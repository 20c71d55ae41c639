"""What every plugin is: one class in one file, whose constructor arguments are its parameters."""

import inspect
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, ClassVar, Self

from marsbench.errors import ConfigError, PluginError, unknown


class Plugin:
    """Base of dataset, feature extractor and model plugins.

    A subclass stores its constructor arguments untouched under their own names (a dataclass does that by
    itself); what it computes later gets a trailing underscore.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    """Distributions whose version changes what the plugin computes, as pip spells them."""

    @property
    def name(self) -> str:
        """The file's stem."""
        return type(self).__module__.rpartition(".")[2]

    @classmethod
    def parameter_defaults(cls) -> dict[str, Any]:
        """Constructor arguments in order with their defaults, `inspect.Parameter.empty` for none."""
        arguments = inspect.signature(cls).parameters.values()
        defaults = {a.name: a.default for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)}
        return defaults | _made_defaults(cls)

    @classmethod
    def create(cls, parameters: dict[str, Any]) -> Self:
        """Construct with some parameters given and the others at their defaults.

        Raises:
            ConfigError: an unknown parameter, or a value that the constructor refuses.
        """
        name = cls.__module__.rpartition(".")[2]
        defaults = cls.parameter_defaults()
        for word, value in parameters.items():
            if word not in defaults:
                raise ConfigError(f"{name}: {unknown('parameter', word, defaults)}")
            _require_kind(f"{name}.{word}", value, defaults[word])
        try:
            return cls(**parameters)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name}: {error}") from error

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with its present value; raises PluginError if the constructor did not store one."""
        try:
            return {name: getattr(self, name) for name in self.parameter_defaults()}
        except AttributeError as error:
            raise PluginError(f"{self.name}: a constructor argument is not stored: {error}") from error

    def skip(self, other: "Plugin") -> str | None:  # noqa: ARG002 - for subclasses to look at
        """Reason why this plugin and `other` make no sense together; None if they do."""
        return None


def _require_kind(parameter: str, value: Any, default: Any) -> None:
    """Refuse a value of another kind than a plain default: "no" is not False, nor is "3" a number."""
    for kind, wanted in _KINDS.items():
        if type(default) is kind:
            fits = type(value) is kind or (kind is float and type(value) is int)
            if not fits and value is not None:
                example = f", such as {default!r}" if default != "" else ""
                raise ConfigError(f"{parameter} = {value!r}: {wanted} is needed{example}")


_KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _made_defaults(cls: type) -> dict[str, Any]:
    """Defaults that a dataclass makes anew for each object, such as lists."""
    declared = fields(cls) if is_dataclass(cls) else ()
    made = {field.name: field.default_factory for field in declared if field.init}
    return {name: factory() for name, factory in made.items() if factory is not MISSING}
