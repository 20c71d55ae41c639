"""`bench show`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Json, Plugins, Results
from marsbench.results.store import RunFolder


def show(  # noqa: PLR0913, PLR0917 - one argument an option
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run id, its beginning, or the run's folder.")],
    results: Results = DEFAULT_RESULTS,
    trials: Annotated[
        bool, typer.Option("--trials", help="Show the trials of tuning and the importance of parameters.")
    ] = False,
    top: Annotated[int, typer.Option(min=0, help="With --trials: best trials per fold; 0 for all.")] = 10,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="ATTRIBUTE",
            help="Show scores by sex, intensity, channel, speaker or any other attribute of the corpus.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="With --by: name or path of the run's corpus, if that has moved.")
    ] = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Show one run: scores by class, confusion matrix (also written as a PNG), settings and origin."""
    from marsbench.results.reproduce import reproduce
    from marsbench.results.store import find_run

    folder = find_run(results, run)
    found = folder.read_run()
    if by is not None:
        _print_values(folder, by, data, plugins, as_json=as_json)
        return
    if trials:
        from marsbench.cli.printing import print_trials

        print_trials(folder, found, top, as_json=as_json)
        return
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    from marsbench.report.terminal import runs, tuning
    from marsbench.report.terminal.console import out, print_path
    from marsbench.results.leaderboard import stricter_view

    out.print(runs.corpus_notes(found))
    out.print(runs.run_summary(found, stricter_view(folder.path.absolute().parents[2], found)))
    print_path("Files", folder.path)
    if found.metrics is not None:
        from marsbench.results.plots import plot_confusion

        plot_confusion(found, folder.confusion_plot)
        out.print(runs.classes(found.metrics))
        out.print(runs.confusion(found.metrics))
        print_path("Confusion matrix as PNG", folder.confusion_plot)
    if found.tuning is not None:
        out.print(tuning.tuning_summary(found.tuning))
    out.print(runs.origin(found))
    commands, notes = reproduce(found)
    # Neither wrapped nor indented, so that they can be copied.
    typer.echo("\n".join(["\nReproduce", *commands, *(f"({note})" for note in notes)]))


def _print_values(
    folder: RunFolder, by: str, data: str | None, plugins: list[Path] | None, *, as_json: bool
) -> None:
    """Print scores by value of an attribute."""
    from marsbench.plugin.registry import discover, drop_in_folders
    from marsbench.report.error_analysis import by_value
    from marsbench.report.terminal import runs
    from marsbench.report.terminal.console import out
    from marsbench.results.predictions import read_predictions
    from marsbench.runner.reload import require_complete, values_of

    run = folder.read_run()
    require_complete(run)
    predictions = read_predictions(folder, run)
    values = values_of(run, predictions, by, discover(drop_in_folders(plugins or [])), data)
    found = by_value(predictions, values)
    if as_json:
        rows = [
            {"value": entry.value, "n_clips": entry.n_clips}
            | {name: score.model_dump() for name, score in entry.scores.items()}
            for entry in found
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    out.print(runs.values(run, by, found))
