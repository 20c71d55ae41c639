"""What `bench run`, `bench retry` and `bench search` print when they are done."""

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from marsbench.errors import ResultsError
from marsbench.report.terminal import runs as run_tables
from marsbench.report.terminal import tuning
from marsbench.report.terminal.board import board as board_table
from marsbench.report.terminal.console import out, print_path
from marsbench.results.leaderboard import leaderboards
from marsbench.results.plots import plot_history
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.tuning.journal import importances


def print_report(runs: Sequence[tuple[RunFolder, Run]], results: Path) -> None:
    """Print the runs and their leaderboards; exit with 1 if a run failed."""
    print_runs(runs, results)
    if any(run.status == "failed" for _, run in runs):
        raise typer.Exit(1)


def print_runs(runs: Sequence[tuple[RunFolder, Run]], results: Path) -> None:
    """Print the runs and their leaderboards."""
    boards, _ = leaderboards(results, criteria=runs[-1][1].criteria)
    rows = {run_id: row for board in boards for row in board.rows for run_id in row.run_ids}
    shown: set[str] = set()
    for folder, run in runs:
        if run.protocol.hash not in shown:
            out.print(run_tables.corpus_notes(run))
        shown.add(run.protocol.hash)
        row = rows.get(run.run_id)
        out.print(run_tables.run_summary(run, row.stricter if row else None))
        print_path("Files", folder.path)
    for board in boards:
        if board.hash in shown:
            out.print(board_table(board, width=out.width))


def print_trials(folder: RunFolder, run: Run, top: int, *, as_json: bool) -> None:
    """Print each fold's study, its best `top` trials (0: all), and the importance of parameters.

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
    out.print(tuning.tuning_summary(run.tuning))
    out.print(tuning.trials(studies, top))
    out.print(tuning.importance(importances(folder.study.journal)))
    print_path("History as PNG", folder.study.history_plot)
    print_path("Optuna storage", folder.study.journal)
