"""Hook of mkdocs: writes the reference of all commands into cli.md, from the commands themselves."""  # noqa: INP001

from collections.abc import Iterator
from inspect import cleandoc
from textwrap import fill, indent
from typing import Any

from typer.main import get_command

WIDTH = 90
MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page, with the reference in place of its mark."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown


def reference() -> str:
    """A section for each command: usage, what it does, arguments, options and examples."""
    from marsbench.cli.main import app

    return "\n\n".join(_section(name, command) for name, command in commands(get_command(app)))


def commands(command: Any, name: str = "bench") -> Iterator[tuple[str, Any]]:
    """Each command below a group with its full name, in the order of `bench --help`."""
    if (below := getattr(command, "commands", None)) is None:
        yield name, command
        return
    for word, one in below.items():
        if not one.hidden:
            yield from commands(one, f"{name} {word}")


def _section(name: str, command: Any) -> str:
    context = command.context_class(command, info_name=name)
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    usage = f"{name} {' '.join(command.collect_usage_pieces(context))}"
    listed = "\n".join(f"{names}\n{indent(fill(words, WIDTH), '    ')}" for names, words in records)
    examples = f"Examples:\n{indent(command.epilog, '    ')}"
    return f"## {name}\n\n```text\n{usage}\n\n{cleandoc(command.help or '')}\n\n{listed}\n\n{examples}\n```"
