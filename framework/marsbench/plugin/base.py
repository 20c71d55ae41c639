"""Bases of all plugins, whose constructor arguments are their parameters, and of datasets."""

import inspect
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from marsbench.data.corpus_options import AS_LISTED
from marsbench.errors import ConfigError, PluginError, unknown

if TYPE_CHECKING:  # listing plugins reads no audio
    from marsbench.data.corpus import Corpus
    from marsbench.data.download import Archive


class Plugin:
    """Base of dataset, feature extractor and model plugins.

    A subclass stores its constructor arguments unchanged under their own names, as dataclasses do; attributes
    that it computes later have a trailing underscore.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    """Names on PyPI of the packages whose version affects what the plugin computes."""
    late_imports: ClassVar[tuple[str, ...]] = ()
    """Modules that its methods import; a process imports them once for all fits of a built-in plugin."""

    @property
    def name(self) -> str:
        """The stem of the plugin's file."""
        return type(self).__module__.rpartition(".")[2]

    @classmethod
    def parameter_defaults(cls) -> dict[str, Any]:
        """Constructor arguments in order with their defaults; `inspect.Parameter.empty` if there is none."""
        arguments = inspect.signature(cls).parameters.values()
        defaults = {a.name: a.default for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)}
        return defaults | _factory_defaults(cls)

    @classmethod
    def create(cls, parameters: dict[str, Any]) -> Self:
        """Construct the plugin with `parameters` and all others at their defaults.

        Raises:
            ConfigError: an unknown parameter, or a value of a wrong type or that the constructor refuses.
        """
        name = cls.__module__.rpartition(".")[2]
        defaults = cls.parameter_defaults()
        for parameter, value in parameters.items():
            if parameter not in defaults:
                raise ConfigError(f"{name}: {unknown('parameter', parameter, defaults)}")
            _require_type(f"{name}.{parameter}", value, defaults[parameter])
        try:
            return cls(**parameters)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name}: {error}") from error

    @property
    def parameters(self) -> dict[str, Any]:
        """Current value of every parameter by name; raises PluginError if one was not stored."""
        try:
            return {name: getattr(self, name) for name in self.parameter_defaults()}
        except AttributeError as error:
            raise PluginError(f"{self.name}: a constructor argument is not stored: {error}") from error

    def skip(self, other: "Plugin") -> str | None:  # noqa: ARG002 - for subclasses
        """Reason why this plugin cannot be combined with `other` in a pipeline; None if it can."""
        return None


class Dataset(Plugin):
    """Lists the clips of a corpus and their labels, without opening audio.

    A dataset that is read from a folder or file has a parameter `root` (its path as text) and implements
    `recognises`.
    """

    archives: ClassVar[tuple["Archive", ...]] = ()
    """Archives that `bench data fetch` downloads and unpacks."""
    licence: ClassVar[str] = "unknown"
    citation: ClassVar[str] = ""
    """The publication to cite."""
    access: ClassVar[str] = ""
    """Where to get or ask for the corpus, as a line such as `ask for it at https://...`."""
    fallback: ClassVar[bool] = False
    """Whether the dataset is used only for paths that no other dataset recognises."""
    takes_columns: ClassVar[bool] = False
    """Whether it reads tables, and looks at `reading.columns`."""
    labels_by_name: ClassVar[bool] = False
    """Whether classes are read from names of files, which `--label REGEX` does instead if it is given."""
    reading = AS_LISTED
    """What the user asked for, which `data.reading` applies to what `load` returns.

    A dataset that could not list its clips otherwise may look at it.
    """

    def load(self) -> "Corpus":
        """List the clips; raises CorpusError if files are missing or not as expected."""
        raise NotImplementedError

    @classmethod
    def recognises(cls, path: Path) -> bool:  # noqa: ARG003 - for subclasses
        """Whether `--data PATH` should use this plugin; must be fast and open no audio.

        `marsbench.data.folders.files_below` lists a folder once for all plugins that are asked.
        """
        return False


TYPE_NAMES: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
"""Types of simple parameters, as messages name them."""


def _require_type(parameter: str, value: Any, default: Any) -> None:
    """Refuse a value of another type than a simple default's: "no" is not False, and "3" is not a number."""
    for kind, wanted in TYPE_NAMES.items():
        if type(default) is kind:
            fits = type(value) is kind or (kind is float and type(value) is int)
            if not fits and value is not None:
                example = f", such as {default!r}" if default != "" else ""
                raise ConfigError(f"{parameter} = {value!r}: {wanted} is needed{example}")


def _factory_defaults(cls: type) -> dict[str, Any]:
    """Defaults that a dataclass creates for each object, such as lists."""
    declared = fields(cls) if is_dataclass(cls) else ()
    factories = {field.name: field.default_factory for field in declared if field.init}
    return {name: factory() for name, factory in factories.items() if factory is not MISSING}
