"""`bench compare`."""

import json
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Json, Results

_METAVAR = "RUN"


def compare(
    first: Annotated[
        str, typer.Argument(metavar=_METAVAR, help="Run id, its beginning, or the run's folder.")
    ],
    second: Annotated[str, typer.Argument(metavar=_METAVAR, help="Run to compare it with.")],
    results: Results = DEFAULT_RESULTS,
    top: Annotated[
        int,
        typer.Option(min=0, help="Clips that one run alone gets right; 0 for all. JSON has all."),
    ] = 10,
    as_json: Json = False,
) -> None:
    """Compare two runs of one leaderboard: difference, interval, p values, McNemar's table, clips."""
    from marsbench.report.terminal import runs
    from marsbench.report.terminal.console import out
    from marsbench.results.comparison import compare as compare_runs
    from marsbench.results.store import find_run

    found = compare_runs(find_run(results, first), find_run(results, second))
    if as_json:
        typer.echo(json.dumps(runs.comparison_values(found), indent=1))
    else:
        out.print(runs.comparison_table(found, top))
