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

    In the forms keras, onnx and litert the model is a file that other software reads too. An ONNX file made
    end to end needs numpy and onnxruntime alone. Whatever is written answers a clip of each class again, as
    the model in memory does, or the command fails.
    """
    if (run is None) != best:
        raise typer.BadParameter("name a RUN, or say --best")
    _refuse_pairs(form, end_to_end, quantise)
    from marsbench.bundle.files import write_bundle
    from marsbench.cli.bundle_tables import bundle_summary
    from marsbench.cli.console import TerminalProgress, out, print_path
    from marsbench.export.end_to_end import TOLERANCE as PIPELINE_TOLERANCE
    from marsbench.export.model_files import model_file, require_form
    from marsbench.export.pipeline_file import write_pipeline
    from marsbench.export.refit import corpus_of, refit, refit_fold
    from marsbench.export.samples import golden_samples
    from marsbench.plugin.registry import discover, drop_in_folders
    from marsbench.results.leaderboard import best_run
    from marsbench.results.store import find_run

    found = best_run(results, data, protocol) if best else find_run(results, str(run))
    registry = discover(drop_in_folders(plugins or ()))
    target = output or Path("pipeline.onnx" if end_to_end else "bundle")
    with TerminalProgress() as progress:
        record = found.read_run()
        if form != "bundle":
            model = registry.get("models", record.model.name)
            require_form(model.name, model.plugin, form, quantise)
        corpus = corpus_of(record, registry, None if best else data, progress)
        if fold is None:
            bundle = refit(record, corpus, registry, progress)
        else:
            bundle = refit_fold(found, fold, corpus, registry, progress)
        samples = list(golden_samples(corpus))
        if end_to_end:
            write_pipeline(bundle, target, samples)
            tolerance = PIPELINE_TOLERANCE
        else:
            file = None if form == "bundle" else model_file(bundle, form, quantise)
            bundle = write_bundle(bundle, target, samples, file)
            tolerance = bundle.record.tolerance
    out.print(bundle_summary(bundle, len(samples), tolerance))
    print_path("Written", target)


def _refuse_pairs(form: Form, end_to_end: bool, quantise: Precision | None) -> None:
    if end_to_end and form != "onnx":
        raise typer.BadParameter("--end-to-end goes with --format onnx")
    if quantise is not None and end_to_end:
        raise typer.BadParameter("--quantise goes with a bundle; an --end-to-end file keeps its precision")
    if quantise is not None and form not in {"onnx", "litert"}:
        raise typer.BadParameter("--quantise goes with --format onnx or litert")
