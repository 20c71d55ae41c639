"""`bench status`, `bench plan` and `bench retry`: runs that are not finished."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Given, Json, Results, takes
from marsbench.cli.output import print_json, print_text, tell_left_out
from marsbench.cli.run import print_report
from marsbench.config import Execution, Experiment, read_experiment_file
from marsbench.results.keys import SEARCH_FILES

if TYPE_CHECKING:
    from marsbench.automl.status import SearchState


def status(results: Results = DEFAULT_RESULTS, as_json: Json = False) -> None:
    """Show progress, time left and processes of runs and searches.

    With --json only the runs.

    Examples:
        bench status
        bench status --results DIR --json
    """
    from marsbench.atomic_files import who_is_at_work
    from marsbench.report.terminal.console import out
    from marsbench.report.terminal.runs import search_table, state_table
    from marsbench.runner.status import states

    searched, damaged = _searches(results)
    found, unreadable = states(results, may_be_none=bool(searched))
    tell_left_out([*damaged, *unreadable])
    if as_json:
        print_json([state.as_row() for state in found])
    else:
        out.print(state_table(found, finished_too=False))
        if searched:
            out.print(search_table(searched))
        for search in searched:
            if search.state == "cut off" and search.record.command:
                print_text(f"To resume: {search.record.command}")
        for line in who_is_at_work(results):
            print_text(f"At work: {line}")


def _searches(results: Path) -> "tuple[list[SearchState], list[str]]":
    if not any(results.glob(SEARCH_FILES)):
        return [], []  # without importing all that searches
    from marsbench.automl.status import searches

    return searches(results)


@takes(Experiment, "results", "workers")
def plan(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT.toml", help="Experiment as `bench run` takes it.")
    ],
    given: Given,
    as_json: Json = False,
) -> None:
    """Show which runs of an experiment are finished.

    Nothing is run or written.

    Examples:
        bench plan experiments/quick.toml
    """
    from marsbench.report.terminal.console import TerminalProgress, out
    from marsbench.report.terminal.runs import state_table
    from marsbench.runner.status import planned_states

    asked = Experiment.parse(read_experiment_file(experiment), str(experiment), given)
    with TerminalProgress() as progress:
        found = planned_states(asked, progress)
    if as_json:
        print_json([state.as_row() for state in found])
    else:
        out.print(state_table(found, finished_too=True))


@takes(Execution, "workers", "cluster", "unit_timeout", "unit_memory")
def retry(
    given: Given,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Run ids, or their beginnings.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every run with a failed fit.")] = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Repeat the fits that failed.

    Everything else stays as the run was first asked for.

    Examples:
        bench retry --failed
        bench retry RUN --unit-timeout 1h
    """
    from marsbench.report.terminal.console import TerminalProgress
    from marsbench.runner.runner import retried

    if failed == bool(runs):
        raise typer.BadParameter("name some runs, or say --failed for all that failed")
    Execution.parse({}, typed=given)  # here, where a wrong value can be named as an option
    with TerminalProgress() as progress:
        done = retried(results, runs or None, given, progress)
    print_report(done, results)
