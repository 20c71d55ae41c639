"""Plugins as tables for a terminal; imports no plugin and no library that computes."""

import inspect
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from marsbench.plugin.base import Plugin
from marsbench.plugin.checks import Check
from marsbench.plugin.features import FeatureExtractor, FeatureKind
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Entry
from marsbench.plugin.search_space import Dimension, explore
from marsbench.report.terminal.console import table as empty_table


def plugin_list(entries: Sequence[Entry]) -> Table:
    """Kind, name, first line of the docstring, and where the plugin is from."""
    table = empty_table("kind", "name", "what it is", "from")
    for entry in entries:
        table.add_row(Text(entry.kind), Text(entry.name), Text(entry.summary), Text(entry.origin))
    return table


_INPUT_SHAPES: dict[FeatureKind, tuple[int, ...]] = {"frames": (174, 59), "vector": (59,)}
"""Shapes of the reference features, since a search space may depend on the shape."""


def plugin_details(entry: Entry) -> RenderableType:
    """Docstring, parameters with defaults, requirements, file."""
    table = empty_table("parameter", "default", "a tuner may vary")
    varied = {dimension.name: dimension for dimension in _search_space(entry.plugin)}
    defaults = entry.plugin.parameter_defaults()
    for name in [*defaults, *(name for name in varied if name not in defaults)]:
        default = defaults.get(name, varied[name].default if name in varied else None)
        shown = "required" if default is inspect.Parameter.empty else repr(default)
        about = varied[name].describe() + _condition(varied[name]) if name in varied else ""
        table.add_row(Text(f"{entry.name}.{name}"), Text(shown), Text(about))
    facts = [Text(f"File: {entry.file}", "dim")]
    if entry.plugin.requires:
        facts.insert(0, Text(f"Computes with: {', '.join(entry.plugin.requires)}"))
    head = Text(f"{entry.name} ({entry.kind}, from {entry.origin})", "bold")
    return Group(head, Text(inspect.getdoc(entry.plugin) or ""), table, *facts)


def _search_space(plugin: type[Plugin]) -> tuple[Dimension, ...]:
    """Hyperparameters of the plugin; empty if it has none."""
    if inspect.Parameter.empty in plugin.parameter_defaults().values():
        return ()
    if issubclass(plugin, FeatureExtractor):
        return explore(plugin().build)
    if issubclass(plugin, Model):
        model = plugin()
        return explore(lambda hp: model.declare(hp, _INPUT_SHAPES[plugin.accepts], n_classes=8))
    return ()


def _condition(dimension: Dimension) -> str:
    """On which values of other parameters the dimension depends."""
    parts = [f"{parent} is {' or '.join(map(str, allowed))}" for parent, allowed in dimension.when]
    return f", if {' and '.join(parts)}" if parts else ""


def contract(entry: Entry, checks: Sequence[Check]) -> Table:
    """Each check of a plugin's contract with its problem, if any."""
    table = empty_table("check", "result", title=f"{entry.name} ({entry.kind})")
    for check in checks:
        result = Text("ok", "green") if check.problem is None else Text(check.problem, "red")
        table.add_row(check.name, result)
    return table
