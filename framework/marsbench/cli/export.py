"""`bench export`."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Plugins, Results, folder


def export(  # noqa: PLR0913, PLR0917 - one argument an option
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Run id, its beginning, or the run's folder.")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The first of the leaderboard.")] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="With --best: the corpus's name. Else where the run's corpus is now, name or path."
        ),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="With --best: the protocol's name.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            parser=folder,
            help="Folder or file to write. [default: bundle, or pipeline.onnx]",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option("--format", help="bundle, or onnx: one file from waveform to probabilities."),
    ] = "bundle",
    results: Results = DEFAULT_RESULTS,
    plugins: Plugins = None,
) -> None:
    """Fit a run's configuration on all clips and write it as a bundle, which predicts wherever marsbench is.

    As ONNX it predicts wherever numpy and onnxruntime are: one file that takes a mono waveform. Either
    answers a clip of each class again once it is made, or the command fails.
    """
    if (run is None) != best:
        raise typer.BadParameter("name a RUN, or say --best")
    if form not in _OUTPUTS:
        raise typer.BadParameter(f"--format {form}: there is bundle and onnx")
    target = output or _OUTPUTS[form]
    from marsbench.bundle.files import write_bundle
    from marsbench.cli.bundle_tables import bundle_summary
    from marsbench.cli.console import TerminalProgress, out, print_path
    from marsbench.export.onnx_file import write_onnx
    from marsbench.export.refit import corpus_of, refit
    from marsbench.export.samples import golden_samples
    from marsbench.plugin.registry import discover, drop_in_folders
    from marsbench.results.leaderboard import best_run
    from marsbench.results.store import find_run

    found = (best_run(results, data, protocol) if best else find_run(results, str(run))).read_run()
    registry = discover(drop_in_folders(plugins or ()))
    with TerminalProgress() as progress:
        corpus = corpus_of(found, registry, None if best else data, progress)
        bundle = refit(found, corpus, registry, progress)
        samples = list(golden_samples(corpus))
        if form == "onnx":
            write_onnx(bundle, target, samples)
        else:
            write_bundle(bundle, target, samples)
    out.print(bundle_summary(bundle, len(samples)))
    print_path("Written", target)


_OUTPUTS = {"bundle": Path("bundle"), "onnx": Path("pipeline.onnx")}
