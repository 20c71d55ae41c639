"""What every command has: words for values in its help text, examples, values for a shell to complete.

All three are found by an option's name and type, or by the words that stand for its value, so that a new
option needs none of its own.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from marsbench.cli.options import DEFAULT_RESULTS, registry_of
from marsbench.config import Experiment
from marsbench.errors import BenchError
from marsbench.options import options_of
from marsbench.plugin.registry import KINDS, Kind

_METAVARS = {int: "N", float: "NUMBER", Path: "PATH"}
"""What stands for a value by its type; for a text it is the option's name."""


class Command(TyperCommand):
    """A command whose docstring may end in a section `Examples:` of command lines."""

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **options)
        self.help, _, examples = (self.help or "").partition("\nExamples:\n")
        self.epilog = cleandoc(examples)
        for parameter in self.params:
            _complete(parameter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Typer's signature
        """The examples, one a line, which is never wrapped."""
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.epilog.splitlines()))


def _complete(parameter: Any) -> None:
    """Give an option or argument what it lacks: a word for its value, and values for a shell to complete."""
    parameter.metavar = parameter.metavar or _metavar(parameter)
    record = parameter.get_help_record
    parameter.get_help_record = lambda context: _without_type(record(context))
    if values := _values_of(parameter.name, parameter.metavar or ""):
        parameter._custom_shell_complete = _completing(values)  # noqa: SLF001 - its constructor has passed


def _metavar(parameter: Any) -> str | None:
    """Its choices, the word for the option of `bench run` of that name, or one by type; None for a flag."""
    if getattr(parameter, "is_flag", False):
        return None
    if (kind := parameter.type_descriptor).is_choice:
        return "|".join(kind.choices)
    if shared := options_of(Experiment).get(parameter.name):
        return shared.metavar
    name: str = parameter.name
    return _METAVARS.get(kind.annotation, name.upper())


def _without_type(record: tuple[str, str] | None) -> tuple[str, str] | None:
    """A line of a help text without the Python type that Typer puts behind the name of an argument."""
    return record and (re.sub(r" <[^>]*>$", "", record[0]), record[1])


Values = Callable[[Any, str], Iterable[str]]
"""Values by the context of the words before, and the beginning of what is being typed."""


def _values_of(name: str, metavar: str) -> Values | None:
    words = re.findall(r"[A-Z]+", metavar)
    if choices := re.fullmatch(r"[a-z0-9_-]+(\|[a-z0-9_-]+)+", metavar):
        return lambda _context, _text: choices[0].split("|")
    return next((_VALUES[word] for word in (name, *words) if word in _VALUES), None)


def _completing(values: Values) -> Callable[[Any, Any, str], list[str]]:
    """A function as Typer calls it: the values that begin so, after a comma those of the last word."""

    def completed(context: Any, _parameter: Any, text: str) -> list[str]:
        before, comma, last = text.rpartition(",")
        try:
            return [f"{before}{comma}{value}" for value in values(context, last) if value.startswith(last)]
        except (BenchError, OSError):  # a shell that completes a word shows no message
            return []

    return completed


def _plugins(*kinds: Kind) -> Values:
    """Names of plugins, without importing any."""

    def names(context: Any, _text: str) -> Iterator[str]:
        registry = registry_of(map(Path, context.params.get("plugins") or ()))
        return (name for kind in kinds for name in registry.names(kind))

    return names


def _protocols(_context: Any, _text: str) -> list[str]:
    from marsbench.protocols.apply import listed_protocols

    return [protocol.name for protocol in listed_protocols()]


def _encoders(_context: Any, _text: str) -> list[str]:
    from marsbench.features.pretrained import KNOWN, present

    return sorted({known.name for known in KNOWN} | {name for name, _ in present()})


def _runs(context: Any, _text: str) -> Iterator[str]:
    """Ids of the finished runs in the results folder."""
    from marsbench.results.store import find_runs

    return (folder.path.name for folder in find_runs(Path(context.params.get("results") or DEFAULT_RESULTS)))


def _bundles(_context: Any, text: str) -> Iterator[str]:
    """Folders of bundles beside the one being typed."""
    above = text.rpartition("/")[0] + "/" * ("/" in text)
    for path in sorted(Path(above).iterdir()):
        if (path / "bundle.json").is_file():
            yield f"{above}{path.name}"


_VALUES: dict[str, Values] = {
    "features": _plugins("features"), "extractor": _plugins("features"), "model": _plugins("models"),
    "data": _plugins("datasets"), "dataset": _plugins("datasets"), "plugin": _plugins(*KINDS),
    "protocol": _protocols, "encoder": _encoders, "RUN": _runs, "BUNDLE": _bundles,
}  # fmt: skip
"""Values by the name of an option, or by a word that stands for its value."""
