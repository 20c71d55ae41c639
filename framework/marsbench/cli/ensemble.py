"""`bench ensemble`."""

from typing import Annotated

import typer

from marsbench.cli.options import (
    DEFAULT_RESULTS,
    Cluster,
    CriteriaOption,
    Plugins,
    Results,
    UnitMemory,
    UnitTimeout,
    Workers,
)


def ensemble(  # noqa: PLR0913, PLR0917 - one argument an option
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Two runs or more: ids, what begins them, or folders."),
    ],
    equal: Annotated[
        bool, typer.Option("--equal", help="The plain mean of their probabilities: nothing is fitted.")
    ] = False,
    inner_folds: Annotated[
        int | None,
        typer.Option(
            help="Splits of each fold's training clips to fit the weights on. [default: 1, a hold-out]"
        ),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    data: Annotated[
        str | None, typer.Option(help="Where the runs' corpus is now, name or path, if it was moved.")
    ] = None,
    plugins: Plugins = None,
    criteria: CriteriaOption = None,
    workers: Workers = None,
    cluster: Cluster = None,
    unit_timeout: UnitTimeout = None,
    unit_memory: UnitMemory = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try fits again that failed earlier.")
    ] = False,
) -> None:
    """Fuse finished runs of one leaderboard into one more, by a weighted pool of their probabilities.

    The weights of a fold are fitted on clips of its training part alone, as the runs' models, fitted on the
    rest of that part, predict them; the clips that it tests have no say. What an earlier, even interrupted,
    call finished is reused.
    """
    if equal and inner_folds is not None:
        raise typer.BadParameter("--inner-folds is for fitted weights: leave it out with --equal")
    from marsbench.cli.printing import print_report
    from marsbench.config import criteria_table, parse_fusion
    from marsbench.report.terminal.console import TerminalProgress
    from marsbench.runner.ensemble_job import fuse_runs

    options = {
        "runs": runs,
        "equal": equal,
        "inner-folds": inner_folds,
        "results": results,
        "data": data,
        "plugins": plugins,
        "criteria": criteria_table(criteria),
        "workers": workers,
        "cluster": cluster,
        "unit-timeout": unit_timeout,
        "unit-memory": unit_memory,
    }
    given = {name: value for name, value in options.items() if value is not None}
    with TerminalProgress() as progress:
        fused = fuse_runs(parse_fusion(given, "bench ensemble"), progress, retry_failed=retry_failed)
    print_report([fused], results)
