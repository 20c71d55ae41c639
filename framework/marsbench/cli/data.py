"""`bench data`."""

from pathlib import Path
from typing import Annotated, cast

import typer

from marsbench.cli.options import Given, Json, Plugins, Settings, registry_of, takes
from marsbench.cli.output import print_json
from marsbench.config import parse_settings
from marsbench.data.corpus_options import Reading
from marsbench.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Datasets: list, check, download.")


@app.command("list")
def list_datasets(plugins: Plugins = None) -> None:
    """List the datasets.

    Examples:
        bench data list
    """
    from marsbench.report.terminal.console import out
    from marsbench.report.terminal.listings import plugin_list

    out.print(plugin_list(registry_of(plugins).entries("datasets")))


@app.command("check")
@takes(Reading)
def check(
    data: Annotated[
        list[str],
        typer.Argument(metavar="NAME|PATH...", help="Dataset, or path to audio; several: joined."),
    ],
    given: Given,
    plugins: Plugins = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Open every file: counts, durations, duplicates, bad files.

    Examples:
        bench data check demo
        bench data check PATH --speaker '^([^_]+)_' --json
    """
    from marsbench.planning.plans import checked_corpus
    from marsbench.report.terminal.console import TerminalProgress, out
    from marsbench.report.terminal.listings import corpus_facts, corpus_report

    reading = Reading.parse({}, typed=given)
    with TerminalProgress() as progress:
        corpus = checked_corpus(
            registry_of(plugins), data, parse_settings(settings), progress, reading=reading
        )
    if as_json:
        print_json(corpus_facts(corpus))
    else:
        out.print(corpus_report(corpus))


@app.command("fetch")
def fetch(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Dataset.")],
    plugins: Plugins = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder to download to. [default: where the dataset looks for it]")
    ] = None,
) -> None:
    """Download, check and unpack a dataset's published archives.

    Examples:
        bench data fetch ravdess
    """
    from marsbench.atomic_files import home
    from marsbench.data.download import fetch as fetch_archives
    from marsbench.plugin.base import Dataset
    from marsbench.report.terminal.console import TerminalProgress, out
    from marsbench.report.terminal.listings import corpus_terms

    plugin = cast("type[Dataset]", registry_of(plugins).get("datasets", dataset).plugin)
    if not plugin.archives and plugin.access:
        raise ConfigError(f"{dataset} cannot be fetched: {plugin.access}; then use --data PATH")
    if not plugin.archives:
        raise ConfigError(f"{dataset} has nothing to fetch; use it as it is: bench run --data {dataset}")
    target = to or home() / "data" / dataset
    with TerminalProgress() as progress:
        fetch_archives(plugin.archives, target, progress)
        for line in corpus_terms(plugin):
            progress.say(line)
    where = dataset if to is None else to
    out.print(f"{dataset} is in {target}; try: bench data check {where}", soft_wrap=True, markup=False)
