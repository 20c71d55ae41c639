"""`bench plugins`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from marsbench.cli.options import Json, Plugins, Settings, registry_of
from marsbench.cli.output import print_json, print_text, warn
from marsbench.config import parse_settings
from marsbench.plugin.registry import KINDS

app = typer.Typer(no_args_is_help=True, help="Extractors, models, datasets: list, show, write, check.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a plugin: its file's name without .py.")]


@app.command("list")
def list_plugins(plugins: Plugins = None, as_json: Json = False) -> None:
    """List every plugin without importing any.

    Examples:
        bench plugins list
        bench plugins list --plugins DIR --json
    """
    from marsbench.report.terminal.console import out
    from marsbench.report.terminal.listings import plugin_list

    registry = registry_of(plugins)
    entries = [entry for kind in KINDS for entry in registry.entries(kind)]
    if as_json:
        fields = ("kind", "name", "summary", "origin")
        print_json([{field: getattr(entry, field) for field in fields} for entry in entries])
        return
    out.print(plugin_list(entries))
    for reason in registry.refused:
        warn(f"refused: {reason}")


@app.command("show")
def show_plugin(plugin: Name, plugins: Plugins = None) -> None:
    """Show a plugin's description, parameters and file.

    Examples:
        bench plugins show svm
    """
    from marsbench.report.terminal.console import out
    from marsbench.report.terminal.listings import plugin_details

    out.print(plugin_details(registry_of(plugins).find(plugin)))


@app.command("new")
def new(
    kind: Annotated[Literal["features", "models"], typer.Argument(help="features or models.")],
    name: Name,
    folder: Annotated[Path, typer.Option(help="Plugin folder to write into.")] = Path("plugins"),
) -> None:
    """Write a working plugin file as a starting point.

    Examples:
        bench plugins new features loudness
    """
    from marsbench.plugin.scaffold import new_plugin

    path = new_plugin(kind, name, folder)
    option = "" if folder == Path("plugins") else f" --plugins {folder}"
    print_text(f"{path} written; try: bench plugins check {name}{option}")


@app.command("check")
def check(
    plugin: Name,
    plugins: Plugins = None,
    settings: Settings = None,
    features: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Extractor whose features a model takes; others may not fit it."),
    ] = None,
) -> None:
    """Check a plugin against its contract.

    Examples:
        bench plugins check loudness
        bench plugins check svm --set svm.C=10
    """
    from marsbench.execution.state_checks import state_checks
    from marsbench.planning.pipelines import settings_for_check
    from marsbench.plugin.checks import check as check_contract
    from marsbench.report.terminal.console import out
    from marsbench.report.terminal.listings import contract

    registry = registry_of(plugins)
    entry = registry.find(plugin)
    given = settings_for_check(registry, entry, parse_settings(settings), features)
    # First, as checking may leave this process changed.
    state = state_checks(entry, registry.folders, *given)
    checks = [*check_contract(entry.plugin, *given), *state]
    out.print(contract(entry, checks))
    if any(item.problem for item in checks):
        raise typer.Exit(1)
