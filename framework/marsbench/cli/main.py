"""The `bench` command: its subcommands, and how errors are printed."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from marsbench.cli import INTERRUPTED, cache, data, models, plugins, protocols
from marsbench.cli.app import app as app_command
from marsbench.cli.command import Command
from marsbench.cli.evaluate import evaluate
from marsbench.cli.export import export
from marsbench.cli.leaderboard import leaderboard
from marsbench.cli.log import log
from marsbench.cli.matrix import matrix
from marsbench.cli.output import drop_unwritten, print_text, replace_unknown_characters, warn
from marsbench.cli.predict import predict
from marsbench.cli.report import report
from marsbench.cli.run import ensemble, run, schema
from marsbench.cli.search import search
from marsbench.cli.serve import serve
from marsbench.cli.show import compare, show
from marsbench.cli.status import plan, retry, status
from marsbench.environment import SAFE_PATH
from marsbench.errors import BenchError, StorageError, cleaned, telling_machine_faults

_GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Run": (run, search, plan, status, retry, ensemble),
    "Look": (leaderboard, show, compare, report, matrix, log),
    "Ship": (export, evaluate, predict, app_command, serve),
    "Manage": (schema,),
}
"""Commands by what they are for; those that have commands of their own follow the last."""
_FURTHER = (plugins, data, models, protocols, cache)
_KEEPS_NOTHING = {"app", "serve", "predict", "status", *(command.__name__ for command in _GROUPS["Look"])}
"""Commands that save nothing on their way."""
_KEPT = "Progress saved; rerun the same command to resume."
_EXAMPLES = (
    "bench run --data demo --features functionals --model svm",
    "bench search --data PATH --time-budget 1h",
    "bench leaderboard --explain",
    "bench export --best -o bundle",
    "bench predict bundle clip.wav",
)


class _Commands(TyperGroup):
    """Prints an error that users can resolve as one line; any other keeps its traceback."""

    def main(self, *words: Any, **options: Any) -> Any:
        if not options.get("standalone_mode", True):  # the caller handles what is raised
            return super().main(*words, **options)
        replace_unknown_characters()
        try:
            with telling_machine_faults():
                code = super().main(*words, **options | {"standalone_mode": False})
                if sys.stdout is not None and not code:
                    sys.stdout.flush()
        except TyperException as error:
            code = _show_usage(error)
        except StorageError as error:  # of standard output, or of standard error
            with suppress(OSError):
                warn(f"bench: {error}", "red")
            code = 1
        drop_unwritten()
        sys.exit(code)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Commands in groups, one line each, and examples."""
        left = list(self.list_commands(ctx))
        for title, members in _GROUPS.items():
            names = left if title == "Manage" else left[: len(members)]
            left = left[len(names) :]
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, one.get_short_help_str(64)) for name, one in commands if one])
        with formatter.section("Examples"):
            for line in _EXAMPLES:
                formatter.write(f"  {line}\n")

    def invoke(self, ctx: Any) -> Any:
        try:
            with telling_machine_faults():
                return super().invoke(ctx)
        except BenchError as error:
            warn(f"bench: {error}", "red")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            kept = "" if ctx.invoked_subcommand in _KEEPS_NOTHING else f" {_KEPT}"
            warn(f"bench: Interrupted.{kept}", "")
            raise typer.Exit(INTERRUPTED) from None


def _show_usage(error: Any) -> int:
    """Print what is wrong with a command line, and how to get help."""
    error.message = cleaned(error.message, kept="\n")
    error.show()
    return int(error.exit_code)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # help texts are plain: brackets mean brackets
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Compare feature extractors and models for speech emotion recognition, and export the best.",
)
for command in chain(*_GROUPS.values()):
    app.command(cls=Command)(command)
for group in _FURTHER:
    for registered in group.app.registered_commands:
        registered.cls = Command
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_text(f"marsbench {version('marsbench')}")
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
    os.environ |= SAFE_PATH  # for whatever a library starts
    # Keras reads it when it is first imported, which a plugin may do; workers inherit it.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    app()
