"""`bench cache`."""

from typing import Annotated

import typer

from marsbench.cli.output import print_text
from marsbench.errors import ConfigError, suggestion

app = typer.Typer(no_args_is_help=True, help="Stored features: show, delete.")


@app.command()
def info() -> None:
    """Show where features are stored, and how much each extractor takes.

    Examples:
        bench cache info
    """
    from marsbench.features.feature_file import store_root
    from marsbench.features.store import store_use
    from marsbench.report.terminal.console import out, table

    shown = table("extractor", "versions", "MB", title=f"Features in {store_root()}")
    for use in store_use():
        shown.add_row(use.extractor, str(use.versions), f"{use.bytes / 1e6:.1f}")
    out.print(shown)


@app.command()
def clear(
    extractor: Annotated[
        str | None, typer.Argument(metavar="EXTRACTOR", help="Only this extractor's features.")
    ] = None,
) -> None:
    """Delete stored features; they are extracted again when needed.

    Examples:
        bench cache clear
        bench cache clear mfcc
    """
    from marsbench.features.store import clear_store, store_use

    names = [use.extractor for use in store_use()]
    if extractor is not None and extractor not in names:
        raise ConfigError(f"No features of '{extractor}' are stored. {suggestion(extractor, names)}")
    print_text(f"{clear_store(extractor) / 1e6:.1f} MB freed")
