"""What `bench show RUN --trials` prints."""

import json

import typer

from marsbench.cli import trial_tables
from marsbench.cli.console import out, print_path
from marsbench.errors import ResultsError
from marsbench.report.history_plot import plot_history
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.tuning.importance import importances


def print_trials(folder: RunFolder, run: Run, top: int, *, as_json: bool) -> None:
    """Print each fold's study, its best `top` trials, and which parameters mattered.

    Raises:
        ResultsError: the run was not tuned.
    """
    studies = list(folder.study.studies())
    if run.tuning is None or not studies:
        raise ResultsError(f"{run.run_id} was not tuned; bench run --trials N tunes")
    if as_json:
        typer.echo(json.dumps([study.model_dump() for study in studies], indent=1))
        return
    plot_history(studies, run.title, folder.study.history_plot)
    out.print(trial_tables.tuning_summary(run.tuning))
    out.print(trial_tables.trials(studies, top))
    out.print(trial_tables.importance(importances(folder.study.journal)))
    print_path("History as a picture", folder.study.history_plot)
    print_path("Optuna storage", folder.study.journal)
