"""`bench export`."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Plugins, Results, folder


def export(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Run id, its beginning, or the run's folder.")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The first of the leaderboard.")] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="With --best: the corpus's name. Else where the run's corpus is now, name or path."
        ),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="With --best: the protocol's name.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", parser=folder, help="Folder to write.")
    ] = Path("bundle"),
    results: Results = DEFAULT_RESULTS,
    plugins: Plugins = None,
) -> None:
    """Fit a run's configuration on all clips and write it as a bundle that predicts anywhere marsbench is.

    The bundle answers a clip of each class again once it is written, or the command fails.
    """
    if (run is None) != best:
        raise typer.BadParameter("name a RUN, or say --best")
    from marsbench.bundle.files import write_bundle
    from marsbench.cli.bundle_tables import bundle_summary
    from marsbench.cli.console import TerminalProgress, out, print_path
    from marsbench.export.refit import corpus_of, refit
    from marsbench.export.samples import golden_samples
    from marsbench.plugin.registry import discover, drop_in_folders
    from marsbench.results.leaderboard import best_run
    from marsbench.results.store import find_run

    found = (best_run(results, data, protocol) if best else find_run(results, str(run))).read_run()
    registry = discover(drop_in_folders(plugins or ()))
    with TerminalProgress() as progress:
        corpus = corpus_of(found, registry, None if best else data, progress)
        bundle = refit(found, corpus, registry, progress)
        written = write_bundle(bundle, output, golden_samples(corpus))
    out.print(bundle_summary(written))
    print_path("Bundle", output)
