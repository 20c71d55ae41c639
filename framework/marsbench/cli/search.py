"""`bench search`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import Given, Verbose, folder, registry_of, takes
from marsbench.cli.run import print_runs
from marsbench.config import Search
from marsbench.progress import phase


@takes(Search)
def search(
    given: Given,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", parser=folder, help="Folder of the winner's bundle."),
    ] = Path("bundle"),
    verbose: Verbose = False,
) -> None:
    """Choose, tune and combine pipelines, and export the winner.

    Every pair of features and model is first fitted on parts of the training clips. The best pairs are run on
    all folds, tuned, and fused into an ensemble. What scores best inside the training parts is the winner,
    which is fitted on all clips and written as a bundle. Results of earlier runs are reused; rerun the same
    command to resume.

    Examples:
        bench search --data PATH --time-budget 1h
        bench search --features functionals,mfcc --time-budget 10m -o winner
    """
    start = time.monotonic()
    from marsbench.automl.delivery import search_and_export
    from marsbench.automl.found import Found
    from marsbench.data.segments import LastFile
    from marsbench.deployment.bundle_files import AnyBundle, require_bundle_folder
    from marsbench.deployment.export import Target, source_of_run
    from marsbench.report.phrases import winner_lines
    from marsbench.report.terminal.console import TerminalProgress, out, print_path, telling_phases
    from marsbench.report.terminal.runs import search_summary

    asked = Search.parse({}, typed=given)
    require_bundle_folder(output)
    target, plugins = Target(), registry_of(asked.plugins)
    with telling_phases(verbose):
        with TerminalProgress() as progress:

            @phase("export")
            def export(found: Found) -> AnyBundle:
                bundle, samples = source_of_run(
                    found.winner[0], None, None, target, plugins, progress, found.seconds
                )
                target.write(bundle, samples, output)
                return bundle

            found, bundle = search_and_export(asked, export, progress, before=time.monotonic() - start)
            if not found.has_final_score:
                with LastFile() as opened:
                    clips = (opened.recording(clip.source) for clip in found.corpus.held_out)
                    found = found.with_final_score(bundle.class_probabilities(clips))
        out.print(search_summary(found.record))
        print_runs([found.winner], asked.results)
        winner = found.winner[1].run_id
        out.print(f"\nThe winner is {winner}, by scores on hold-outs inside the training parts.")
        for line in winner_lines(found.record):
            out.print(line)
        print_path("Its bundle", output)
        out.print(f"This took {time.monotonic() - start:.0f} s of {asked.time_budget:.0f} s.")
