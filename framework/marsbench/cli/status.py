"""`bench status`, `bench plan` and `bench retry`: runs that are not finished."""

from pathlib import Path
from typing import Annotated, Any

import typer

from marsbench.cli.options import (
    DEFAULT_RESULTS,
    Cluster,
    Json,
    Results,
    UnitMemory,
    UnitTimeout,
    Workers,
    folder,
    tell_left_out,
)


def status(results: Results = DEFAULT_RESULTS, as_json: Json = False) -> None:
    """Show how far runs are: what is done, running, failed and to do, and how long the rest may take."""
    from marsbench.runner.status import states

    found, unreadable = states(results)
    tell_left_out(unreadable)
    if as_json:
        _print_json(found)
        return
    from marsbench.report.terminal.console import out
    from marsbench.report.terminal.status import state_table

    out.print(state_table(found, finished_too=False))


def plan(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT.toml", help="Experiment as `bench run` takes it.")
    ],
    results: Annotated[
        Path | None, typer.Option(help="Folder of runs. [default: results]", parser=folder, metavar="DIR")
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Show what running an experiment would find done and would have to do; nothing is run or written."""
    from marsbench.config import parse_experiment, read_experiment_file
    from marsbench.report.terminal.console import TerminalProgress, out
    from marsbench.report.terminal.status import state_table
    from marsbench.runner.status import planned_states

    values = read_experiment_file(experiment) | _given(results=results, workers=workers)
    with TerminalProgress() as progress:
        found = planned_states(parse_experiment(values, str(experiment)), progress)
    if as_json:
        _print_json(found)
    else:
        out.print(state_table(found, finished_too=True))


def retry(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Run ids or what begins them.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every run with a failed unit.")] = False,
    results: Results = DEFAULT_RESULTS,
    workers: Workers = None,
    cluster: Cluster = None,
    unit_timeout: UnitTimeout = None,
    unit_memory: UnitMemory = None,
) -> None:
    """Try again the units that failed, with everything else as it was asked for at first."""
    from marsbench.cli.printing import print_report
    from marsbench.report.terminal.console import TerminalProgress
    from marsbench.runner.retry import retried

    if failed == bool(runs):
        raise typer.BadParameter("name some runs, or say --failed for all that failed")
    changes = _given(workers=workers, cluster=cluster, unit_timeout=unit_timeout, unit_memory=unit_memory)
    with TerminalProgress() as progress:
        done = retried(results, runs or None, changes, progress)
    print_report(done, results)


def _given(**options: Any) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in options.items() if value is not None}


def _print_json(found: "list[Any]") -> None:
    import json

    typer.echo(json.dumps([state.as_row() for state in found], indent=1))
