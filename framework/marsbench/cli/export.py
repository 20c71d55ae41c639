"""`bench export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Plugins, Results, folder

# As in `bundle.model_file`, which a list of options must not import.
Form = Literal["bundle", "keras", "onnx", "litert"]
Precision = Literal["int8", "float16"]


def export(  # noqa: PLR0913, PLR0917 - one argument an option
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run id, its beginning, or its folder; or a bundle's folder."),
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The first of the leaderboard.")] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="With --best: the corpus's name. Else where the run's corpus is now, name or path."
        ),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="With --best: the protocol's name.")] = None,
    fold: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="The model of the run's fold K instead of one of all clips."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            parser=folder,
            help="Folder to write, or file with --end-to-end. [default: bundle, or pipeline.onnx]",
        ),
    ] = None,
    form: Annotated[
        Form,
        typer.Option("--format", help="Of the model in it: as its plugin saves it, or one file."),
    ] = "bundle",
    end_to_end: Annotated[
        bool,
        typer.Option(
            "--end-to-end", help="With --format onnx: no bundle, one file from a waveform to probabilities."
        ),
    ] = False,
    quantise: Annotated[
        Precision | None,
        typer.Option(help="Weights of fewer bits: int8 with onnx, int8 or float16 with litert."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    plugins: Plugins = None,
) -> None:
    """Fit a run's configuration on all clips and write it as a bundle, which predicts wherever marsbench is.

    Of an ensemble every member is fitted, and keeps the weight that it had on average over folds.
    In the forms keras, onnx and litert the model is a file that other software reads too. An ONNX file made
    end to end needs numpy and onnxruntime alone. Whatever is written answers a clip of each class again, as
    the model in memory does, or the command fails. A bundle is written in another form without a fit.
    """
    if (run is None) != best:
        raise typer.BadParameter("name a RUN, or say --best")
    _refuse_pairs(form, end_to_end, quantise)
    from marsbench.deployment.bundle_files import is_bundle
    from marsbench.deployment.export import Target, of_bundle, of_run
    from marsbench.plugin.registry import discover, drop_in_folders
    from marsbench.report.terminal.bundles import bundle_summary
    from marsbench.report.terminal.console import TerminalProgress, out, print_path
    from marsbench.results.leaderboard import best_run
    from marsbench.results.store import find_run

    registry = discover(drop_in_folders(plugins or ()))
    target = Target("plugin" if form == "bundle" else form, quantise, end_to_end)
    path = output or Path("pipeline.onnx" if end_to_end else "bundle")
    with TerminalProgress() as progress:
        if run is not None and is_bundle(Path(run)):
            if data is not None or protocol is not None or fold is not None:
                raise typer.BadParameter(f"{run} is a bundle: --data, --protocol and --fold go with a run")
            bundle, samples = of_bundle(Path(run), target, registry)
        else:
            found = best_run(results, data, protocol) if best else find_run(results, str(run))
            bundle, samples = of_run(found, None if best else data, fold, target, registry, progress)
        record, tolerance = target.write(bundle, samples, path)
    out.print(bundle_summary(record, len(samples), tolerance))
    print_path("Written", path)


def _refuse_pairs(form: Form, end_to_end: bool, quantise: Precision | None) -> None:
    if end_to_end and form != "onnx":
        raise typer.BadParameter("--end-to-end goes with --format onnx")
    if quantise is not None and end_to_end:
        raise typer.BadParameter("--quantise goes with a bundle; an --end-to-end file keeps its precision")
    if quantise is not None and form not in {"onnx", "litert"}:
        raise typer.BadParameter("--quantise goes with --format onnx or litert")
