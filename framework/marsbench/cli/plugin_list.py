"""The list of plugins as a table; imports none of them, nor anything that computes."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from marsbench.cli.console import table as empty_table
from marsbench.plugin.registry import Entry


def plugin_list(entries: Sequence[Entry]) -> Table:
    """Kind, name, first line of the docstring, and who brought it."""
    table = empty_table("kind", "name", "what it is", "from")
    for entry in entries:
        table.add_row(Text(entry.kind), Text(entry.name), Text(entry.summary), Text(entry.origin))
    return table
