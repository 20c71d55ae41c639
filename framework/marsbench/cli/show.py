"""`bench show`."""

from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Json, Results


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run id, its beginning, or the run's folder.")],
    results: Results = DEFAULT_RESULTS,
    as_json: Json = False,
) -> None:
    """Show one run: scores by class, confusion matrix (also written as a PNG), settings and origin."""
    from marsbench.results.store import find_run

    folder = find_run(results, run)
    found = folder.read_run()
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    from marsbench.cli import run_tables
    from marsbench.cli.console import out, print_path

    out.print(run_tables.corpus_notes(found))
    out.print(run_tables.run_summary(found))
    print_path("Files", folder.path)
    if found.metrics is not None:
        from marsbench.report.confusion_plot import plot_confusion

        plot_confusion(found, folder.confusion_plot)
        out.print(run_tables.classes(found.metrics))
        out.print(run_tables.confusion(found.metrics))
        print_path("Confusion matrix as a picture", folder.confusion_plot)
    out.print(run_tables.origin(found))
