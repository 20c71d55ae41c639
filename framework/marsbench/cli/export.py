"""`bench export`."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Plugins, Results, folder, registry_of
from marsbench.cli.output import print_text
from marsbench.deployment.formats import DEFAULT_FORMAT, format_names
from marsbench.results.store import find_run


def _format(word: str) -> str:
    if word not in format_names():
        raise typer.BadParameter(f"'{word}' is not one of {', '.join(format_names())}")
    return word


def export(  # noqa: PLR0913, PLR0917 - one argument an option
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run id, its beginning, or its folder; or a bundle's folder."),
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The first run of the leaderboard.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="With --best: name or path of the corpus. With either: its path now, if it has moved. Give "
            "all corpora of a joined one."
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="With --best: name, file or hash of the protocol.")
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Fit on the training part of fold K, not on all clips."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            parser=folder,
            help="Folder to write; with --end-to-end the file. [default: bundle, or pipeline.onnx]",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            parser=_format,
            metavar="|".join(format_names()),
            help="Format of the model: as its plugin saves it, or one file for other software.",
        ),
    ] = DEFAULT_FORMAT,
    end_to_end: Annotated[
        bool,
        typer.Option(
            "--end-to-end",
            help="With --format onnx: one file from waveform to probabilities instead of a bundle.",
        ),
    ] = False,
    quantise: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Smaller weights: int8 (onnx, litert) or float16 (litert)."),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload the bundle to the Hugging Face Hub, private if new."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    plugins: Plugins = None,
) -> None:
    """Fit a run's configuration on all clips and write a bundle.

    It is for bench predict and bench app. All members of an ensemble are fitted; their weights are the means
    over its folds.
    The model's file in the formats keras, onnx and litert can be read by other software too. A file made with
    --end-to-end needs only numpy and onnxruntime. What is written is verified on one clip per class. A bundle
    can be written in another format without a fit.

    Examples:
        bench export --best -o bundle
        bench export RUN --format onnx --end-to-end -o pipeline.onnx
        bench export bundle --format litert --quantise int8 -o small
    """
    if (run is None) != best:
        raise typer.BadParameter("name a RUN, or --best")
    if end_to_end:
        _require_one_file(form, quantise, push_to_hub)
    from marsbench.deployment.bundle_files import is_bundle
    from marsbench.deployment.export import Target, source_of_bundle, source_of_run
    from marsbench.deployment.hub import push_to_hub as upload
    from marsbench.deployment.hub import require_hub
    from marsbench.report.terminal.console import TerminalProgress, out, print_path
    from marsbench.report.terminal.listings import bundle_summary
    from marsbench.results.best import best_run_or_moved

    if push_to_hub is not None:
        require_hub(push_to_hub)
    registry = registry_of(plugins)
    target = Target(form, quantise, end_to_end)
    path = output or Path("pipeline.onnx" if end_to_end else "bundle")
    with TerminalProgress() as progress:
        if run is not None and is_bundle(Path(run)):
            if data is not None or protocol is not None or fold is not None:
                raise typer.BadParameter(f"{run} is a bundle: --data, --protocol and --fold need a run")
            bundle, samples = source_of_bundle(Path(run), target, registry, progress)
        else:
            found, moved = (
                best_run_or_moved(results, data, protocol, progress.say)
                if best
                else (find_run(results, str(run)), data)
            )
            bundle, samples = source_of_run(found, moved, fold, target, registry, progress)
        record = target.write(bundle, samples, path)
    out.print(bundle_summary(record, len(samples), target.tolerance))
    print_path("Written", path)
    if push_to_hub is not None:
        print_text(f"Uploaded to {upload(path, push_to_hub)}")


def _require_one_file(form: str, quantise: str | None, push_to_hub: str | None) -> None:
    """Refuse what --end-to-end cannot be used with."""
    if form != "onnx":
        raise typer.BadParameter("--end-to-end needs --format onnx")
    if quantise is not None:
        raise typer.BadParameter("--quantise cannot be used with --end-to-end")
    if push_to_hub is not None:
        raise typer.BadParameter("--push-to-hub cannot be used with --end-to-end: it uploads a bundle")
