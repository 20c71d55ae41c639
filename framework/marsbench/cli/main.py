"""The `bench` command: its subcommands, and how errors are printed."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from marsbench.cli import cache, data, models, plugins, protocols
from marsbench.cli.app import app as app_command
from marsbench.cli.export import export
from marsbench.cli.leaderboard import leaderboard
from marsbench.cli.predict import predict
from marsbench.cli.report import report
from marsbench.cli.run import ensemble, run
from marsbench.cli.search import search
from marsbench.cli.show import compare, show
from marsbench.cli.status import plan, retry, status
from marsbench.errors import BenchError, telling_machine_faults

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""


class _Commands(TyperGroup):
    """Prints an error that users can resolve as one line; any other keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with telling_machine_faults():
                return super().invoke(ctx)
        except BenchError as error:
            typer.secho(f"bench: {error}", err=True, fg="red")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.secho("bench: Interrupted. Progress saved; rerun the same command to resume.", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help texts are plain: brackets mean brackets
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Compare feature extractors and models for speech emotion recognition, and export the best.",
)
for command in (run, search, plan, status, retry, ensemble, leaderboard, show, compare, report):
    app.command()(command)
for command in (export, predict, app_command):
    app.command()(command)
for group in (plugins, data, models, protocols, cache):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"marsbench {version('marsbench')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    app()
