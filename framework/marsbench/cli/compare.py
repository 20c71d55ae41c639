"""`bench compare`."""

from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Json, Results, RunName, print_json
from marsbench.results.store import find_run


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
    """
    from marsbench.report.terminal import runs
    from marsbench.report.terminal.console import out
    from marsbench.results.comparison import compare as compare_runs

    found = compare_runs(find_run(results, first), find_run(results, second))
    if as_json:
        print_json(runs.comparison_values(found))
    else:
        out.print(runs.comparison_table(found, top))
