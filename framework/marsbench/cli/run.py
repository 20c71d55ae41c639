"""`bench run` and `bench ensemble`, and what commands print that make runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import Given, RetryFailed, Verbose, takes
from marsbench.cli.output import print_json
from marsbench.config import Experiment, Fusion, read_experiment_file
from marsbench.options import options_of
from marsbench.progress import phase
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder


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
    retry_failed: RetryFailed = False,
    verbose: Verbose = False,
) -> None:
    """Run pipelines, grade them, and show the leaderboard.

    A pipeline is a pair of a feature extractor and a model; every pair is run. Results of earlier runs are
    reused. Interrupted? Rerun the same command to resume.

    Examples:
        bench run --data demo --features functionals --model svm
        bench run --data PATH --features mfcc,functionals --model svm,cnn_lstm --protocol speaker5
        bench run --features mfcc --model svm --trials 0 --set svm.C=10 --criteria accuracy=0.7
        bench run experiments/quick.toml --workers 2
    """
    from marsbench.report.terminal.console import TerminalProgress, telling_phases

    values = read_experiment_file(experiment) if experiment else {}
    asked = Experiment.parse(values, str(experiment or ""), given)
    with telling_phases(verbose):
        with TerminalProgress() as progress:
            with progress.track("Starting", 1, passing=True):  # the import takes seconds
                from marsbench.runner.runner import run as run_experiment

            runs = run_experiment(asked, progress, retry_failed=retry_failed)
        print_report(runs, asked.results)


@takes(Fusion)
def ensemble(given: Given, retry_failed: RetryFailed = False, verbose: Verbose = False) -> None:
    """Fuse the probabilities of finished runs into one more run.

    The runs must be of one leaderboard; their probabilities are pooled with weights. The weights of a fold
    are fitted inside its training clips: the runs' models are fitted on one part of these and predict the
    rest. The test clips of the fold have no influence. Earlier fits are reused.

    Who names members has seen the board, so that its score is optimistic; --choose chooses them inside the
    training parts, among the runs named or all of the board.

    Examples:
        bench ensemble --choose
        bench ensemble RUN RUN --equal
    """
    if given.get("equal") and "inner-folds" in given:
        raise typer.BadParameter("--inner-folds is for fitted weights: leave it out with --equal")
    from marsbench.automl.members import ensemble as fuse
    from marsbench.report.terminal.console import TerminalProgress, telling_phases

    asked = Fusion.parse({}, typed=given)
    with telling_phases(verbose):
        with TerminalProgress() as progress:
            fused = fuse(asked, progress, retry_failed=retry_failed)
        print_report([fused], asked.results)


def schema() -> None:
    """Print the JSON Schema of the TOML file of bench run.

    Examples:
        bench schema > experiment.schema.json
    """
    made = Experiment.model_json_schema()
    made.pop("required", None)  # the command line may give it
    text: dict[str, object] = {"type": "string"}
    for option in options_of(Experiment).values():
        if (
            option.is_repeated or option.hint.texts or option.kind is list
        ):  # may be written as on a command line
            texts = {"type": "array", "items": {"type": ["string", "object"]}}
            made["properties"][option.key] = {
                "description": option.field.description or "",
                "anyOf": [made["properties"][option.key], text, texts],
            }
    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **made})


def print_report(runs: Sequence[tuple[RunFolder, Run]], results: Path) -> None:
    """Print the runs and their leaderboards; exit with 1 if a run failed."""
    print_runs(runs, results)
    if any(run.status == "failed" for _, run in runs):
        raise typer.Exit(1)


def print_runs(runs: Sequence[tuple[RunFolder, Run]], results: Path) -> None:
    """Print the runs and their leaderboards."""
    with phase("report"):
        _print_runs(runs, results)


def _print_runs(runs: Sequence[tuple[RunFolder, Run]], results: Path) -> None:
    from marsbench.report.matrix import terminal_matrices
    from marsbench.report.terminal.board import TerminalBoard
    from marsbench.report.terminal.console import out, print_path
    from marsbench.report.terminal.runs import corpus_notes, protocol_notes, run_summary
    from marsbench.report.terminal.tuning import tuned_in_vain
    from marsbench.results.leaderboard import leaderboards
    from marsbench.results.matrix import matrices

    boards, _ = leaderboards(results, criteria=runs[-1][1].criteria)
    rows = {run_id: row for board in boards for row in board.rows for run_id in row.run_ids}
    shown: set[str] = set()
    for place, (folder, run) in enumerate(runs):
        if run.corpus.fingerprint not in shown:
            out.print(corpus_notes(run))
        for note in protocol_notes(run) if run.protocol.hash not in shown else ():
            out.print(note)
        shown |= {run.corpus.fingerprint, run.protocol.hash}
        before = [one for _, one in runs[:place]]
        out.print(tuned_in_vain(run, before) or run_summary(run, rows.get(run.run_id)))
        print_path("Files", folder.path)
    for board in boards:
        if board.hash in shown:
            out.print(TerminalBoard(board))
    if found := matrices(runs)[0]:
        out.print(terminal_matrices(found))
