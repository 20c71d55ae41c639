"""What `bench run`, `bench retry` and `bench search` print at their end."""

from collections.abc import Sequence
from pathlib import Path

import typer

from marsbench.cli import run_tables
from marsbench.cli.console import out, print_path
from marsbench.results.leaderboard import leaderboards
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder


def print_report(runs: Sequence[tuple[RunFolder, Run]], results: Path) -> None:
    """Print the runs, then the leaderboards that they stand on; exit with 1 if one failed."""
    print_runs(runs, results)
    if any(run.status == "failed" for _, run in runs):
        raise typer.Exit(1)


def print_runs(runs: Sequence[tuple[RunFolder, Run]], results: Path) -> None:
    """Print the runs, then the leaderboards that they stand on."""
    shown: set[str] = set()
    for folder, run in runs:
        if run.protocol.hash not in shown:
            out.print(run_tables.corpus_notes(run))
        shown.add(run.protocol.hash)
        out.print(run_tables.run_summary(run))
        print_path("Files", folder.path)
    boards, _ = leaderboards(results, criteria=runs[-1][1].criteria)
    for board in boards:
        if board.hash in shown:
            out.print(run_tables.board(board))
