"""`bench matrix`."""

from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Json, Results
from marsbench.cli.output import print_json, tell_left_out


def matrix(
    data: Annotated[
        list[str] | None,
        typer.Option(help="Only runs on the joined corpus of this name, or of these names or paths."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    as_json: Json = False,
) -> None:
    """Show scores by training and test corpus.

    `bench run --data A --data B --protocol across_pairs` makes such runs. A table for each pipeline: what it
    was trained on in rows, what it was tested on in columns.

    Examples:
        bench matrix
        bench matrix --data demo --data PATH --json
    """
    from marsbench.report.matrix import matrix_values, terminal_matrices
    from marsbench.report.terminal.console import out
    from marsbench.results.matrix import stored_matrices

    found, left_out = stored_matrices(results, data)
    tell_left_out(left_out)
    if as_json:
        print_json([matrix_values(one) for one in found])
    else:
        out.print(terminal_matrices(found))
