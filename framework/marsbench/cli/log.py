"""`bench log`."""

from typing import Annotated, Literal

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Results
from marsbench.cli.output import print_text
from marsbench.results.store import find_run


def log(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run ids, their beginnings, or folders of runs.")
    ],
    to: Annotated[Literal["mlflow", "tensorboard"], typer.Option(help="The experiment tracker.")],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|DIR",
            help="MLflow's server or store, else MLFLOW_TRACKING_URI, else sqlite:///mlflow.db; "
            "TensorBoard's folder, else tensorboard.",
        ),
    ] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Log finished runs to an experiment tracker.

    Logged are scores with intervals, scores by class and fold, verdict, configuration, versions and the
    confusion matrix; to MLflow also run.json and the predictions. A run that is there already is left alone.

    Examples:
        bench log RUN --to mlflow
        bench log RUN RUN --to mlflow --at http://127.0.0.1:5000
        bench log RUN --to tensorboard --at logs
    """
    from marsbench.report.tracking import TRACKERS, Tracked

    found = [Tracked.of(find_run(results, name)) for name in runs]
    for run in found:
        print_text(f"{run.name} is {TRACKERS[to](run, at)}")
