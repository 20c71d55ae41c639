"""`bench show` and `bench compare`: one run, or two, in detail."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Json, Plugins, Results, RunName, registry_of
from marsbench.cli.output import print_json, print_text
from marsbench.errors import ResultsError
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_run


def show(  # noqa: PLR0913, PLR0917 - one argument an option
    run: RunName,
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
        list[str] | None,
        typer.Option(help="With --by: name or path of the run's corpus, if that has moved; of several each."),
    ] = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Show one run: scores by class, confusion matrix, settings.

    Also its origin, and the commands that make it again. The confusion matrix is written as a PNG too.

    Examples:
        bench show RUN
        bench show RUN --by sex
        bench show RUN --trials --top 3
    """
    folder = find_run(results, run)
    found = folder.read_run()
    if by is not None:
        _print_values(folder, found, by, data, plugins, as_json=as_json)
    elif trials:
        _print_trials(folder, found, top, as_json=as_json)
    elif as_json:
        print_json(json.loads(found.model_dump_json()))
    else:
        _print_run(folder, found)


def _print_run(folder: RunFolder, found: Run) -> None:
    from marsbench.report.terminal import runs, tuning
    from marsbench.report.terminal.console import out, print_path
    from marsbench.results.leaderboard import row_beside_others
    from marsbench.results.plots import plot_confusion
    from marsbench.results.reproduce import reproduce

    out.print(runs.corpus_notes(found), *runs.protocol_notes(found), sep="\n")
    row = row_beside_others(folder.path.absolute().parents[2], found)
    out.print(runs.run_summary(found, row))
    print_path("Files", folder.path)
    if found.metrics is not None:
        plot_confusion(found, folder.confusion_plot)
        out.print(runs.classes(found.metrics))
        out.print(runs.confusion(found.metrics))
        print_path("Confusion matrix as PNG", folder.confusion_plot)
    if found.tuning is not None:
        out.print(tuning.tuning_summary(found.tuning, row))
    out.print(runs.origin(found))
    commands, notes = reproduce(found)
    # Neither wrapped nor indented, so that they can be copied.
    print_text("\n".join(["\nReproduce", *commands, *(f"({note})" for note in notes)]))


def _print_trials(folder: RunFolder, run: Run, top: int, *, as_json: bool) -> None:
    """Print each fold's study, its best `top` trials (0: all), and the importance of parameters."""
    from marsbench.report.terminal import tuning
    from marsbench.report.terminal.console import out, print_path
    from marsbench.results.leaderboard import row_beside_others
    from marsbench.results.plots import plot_history
    from marsbench.tuning.journal import importances

    studies = list(folder.study.studies())
    if run.tuning is None or not studies:
        raise ResultsError(f"{run.run_id} was not tuned; bench run --trials N tunes")
    if as_json:
        print_json([study.model_dump() for study in studies])
        return
    plot_history(studies, run.title, folder.study.history_plot)
    out.print(tuning.tuning_summary(run.tuning, row_beside_others(folder.path.absolute().parents[2], run)))
    out.print(tuning.trials(studies, top))
    out.print(tuning.importance(importances(folder.study.journal)))
    print_path("History as PNG", folder.study.history_plot)
    print_path("Optuna storage", folder.study.journal)


def _print_values(
    folder: RunFolder, run: Run, by: str, data: list[str] | None, plugins: list[Path] | None, *, as_json: bool
) -> None:
    """Print scores by value of an attribute."""
    from marsbench.evaluation.by_group import by_value
    from marsbench.report.terminal import runs
    from marsbench.report.terminal.console import out
    from marsbench.results.predictions import read_predictions
    from marsbench.runner.reload import require_complete, values_of

    require_complete(run)
    predictions = read_predictions(folder, run)
    values = values_of(run, predictions, by, registry_of(plugins), data)
    found = by_value(predictions, values)
    if as_json:
        rows = [
            {"value": entry.value, "n_clips": entry.n_clips}
            | {name: score.model_dump() for name, score in entry.scores.items()}
            for entry in found
        ]
        print_json(rows)
    else:
        out.print(runs.values(run.title, by, found))


def compare(
    first: RunName,
    second: Annotated[str, typer.Argument(metavar="RUN", help="Run to compare it with.")],
    results: Results = DEFAULT_RESULTS,
    top: Annotated[
        int, typer.Option(min=0, help="Clips that one run alone gets right; 0 for all. JSON has all.")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Compare two runs of one leaderboard.

    Shows the difference with its interval and p values, McNemar's table, and clips that one run alone gets
    right.

    Examples:
        bench compare RUN RUN
        bench compare RUN RUN --top 0 --json
    """
    from marsbench.report.terminal import runs
    from marsbench.report.terminal.console import out
    from marsbench.results.comparison import compare as compare_runs

    found = compare_runs(find_run(results, first), find_run(results, second))
    if as_json:
        print_json(runs.comparison_values(found))
    else:
        out.print(runs.comparison_table(found, top))
