"""`bench protocols`."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import Given, Json, Plugins, Settings, registry_of, takes
from marsbench.cli.output import print_json
from marsbench.config import parse_settings
from marsbench.data.corpus_options import Reading

app = typer.Typer(no_args_is_help=True, help="Ways to split a corpus: list, show, write to a file.")


@app.command("list")
def list_protocols(as_json: Json = False) -> None:
    """List the built-in protocols; a .toml or .json file is one too.

    Examples:
        bench protocols list
    """
    from marsbench.protocols.apply import listed_protocols
    from marsbench.report.terminal.console import out
    from marsbench.report.terminal.listings import protocol_list

    if as_json:
        fields = ("name", "description", "by_speaker", "source")
        rows = [{field: getattr(protocol, field) for field in fields} for protocol in listed_protocols()]
        print_json(rows)
    else:
        out.print(protocol_list(listed_protocols()))


@app.command("show")
@takes(Reading)
def show(
    protocol: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="Built-in protocol, or a .toml or .json file.")
    ],
    given: Given,
    data: Annotated[
        list[str],
        typer.Option(metavar="NAME|PATH", help="Dataset, or path to audio, to split; several are joined."),
    ] = ["demo"],  # noqa: B006 - Typer does not change it
    plugins: Plugins = None,
    settings: Settings = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.json", help="Write the splits to a protocol file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the folds of a protocol on a corpus, and what train and test share.

    Examples:
        bench protocols show speaker5 --data PATH
        bench protocols show stratified5 -o splits.json
    """
    from marsbench.planning.plans import checked_corpus
    from marsbench.protocols.apply import apply_protocol, find_protocol
    from marsbench.protocols.protocol_file import require_json, write_protocol_file
    from marsbench.report.terminal.console import TerminalProgress, out, print_path
    from marsbench.report.terminal.listings import protocol_facts, protocol_report

    definition, reading = find_protocol(protocol), Reading.parse({}, typed=given)
    if output is not None:
        require_json(output)
    with TerminalProgress() as progress:
        corpus = checked_corpus(
            registry_of(plugins), data, parse_settings(settings), progress, reading=reading,
            split=definition.split,
        )  # fmt: skip
    applied = apply_protocol(definition, corpus)
    if output is not None:
        write_protocol_file(output, applied, corpus)
    if as_json:
        print_json(protocol_facts(applied, corpus))
        return
    out.print(protocol_report(applied, corpus))
    if output is not None:
        print_path("Written", output)
