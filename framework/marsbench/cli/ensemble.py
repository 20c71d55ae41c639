"""`bench ensemble`."""

import typer

from marsbench.cli.options import Given, RetryFailed, takes
from marsbench.cli.run import print_report
from marsbench.config import Fusion


@takes(Fusion)
def ensemble(given: Given, retry_failed: RetryFailed = False) -> None:
    """Fuse the probabilities of finished runs into one more run.

    The runs must be of one leaderboard; their probabilities are pooled with weights. The weights of a fold
    are fitted inside its training clips: the runs' models are fitted on one part of these and predict the
    rest. The test clips of the fold have no influence. Earlier fits are reused.
    """
    if given.get("equal") and "inner-folds" in given:
        raise typer.BadParameter("--inner-folds is for fitted weights: leave it out with --equal")
    from marsbench.report.terminal.console import TerminalProgress
    from marsbench.runner.ensemble_job import fuse_runs

    asked = Fusion.parse({}, typed=given)
    with TerminalProgress() as progress:
        fused = fuse_runs(asked, progress, retry_failed=retry_failed)
    print_report([fused], asked.results)
