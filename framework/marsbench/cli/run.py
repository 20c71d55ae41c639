"""`bench run`."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import Given, takes
from marsbench.config import Experiment, read_experiment_file


@takes(Experiment)
def run(
    given: Given,
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT.toml",
            help="TOML file whose keys are the names of these options; an option given here wins.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also repeat fits that failed earlier.")
    ] = False,
) -> None:
    """Run pipelines, grade them, and show the leaderboard.

    A pipeline is a pair of a feature extractor and a model; every pair is run. Results of earlier runs are
    reused. Interrupted? Rerun the same command to resume.
    """
    from marsbench.cli.printing import print_report
    from marsbench.report.terminal.console import TerminalProgress
    from marsbench.runner.runner import run as run_experiment

    values = read_experiment_file(experiment) if experiment else {}
    asked = Experiment.parse(values, str(experiment or ""), given)
    with TerminalProgress() as progress:
        runs = run_experiment(asked, progress, retry_failed=retry_failed)
    print_report(runs, asked.results)
