"""`bench predict`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.cli.options import Json, Plugins, registry_of
from marsbench.cli.output import print_csv, print_json, warn
from marsbench.errors import BenchError

if TYPE_CHECKING:  # a command imports what computes when it is called
    from marsbench.deployment.bundle import Prediction


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by bench export.")],
    sources: Annotated[
        list[str], typer.Argument(metavar="FILE|DIR|GLOB...", help="Audio files, folders of them, patterns.")
    ],
    plugins: Plugins = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Predict the emotion of audio files, of long ones over time.

    Shows label, confidence and all probabilities. Files that cannot be used are skipped with the reason, and
    the exit code is 1.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv cannot be used together")
    from marsbench.deployment.bundle import audio_files
    from marsbench.deployment.bundle_files import read_bundle, read_bundle_record
    from marsbench.report.phrases import worth_phrase
    from marsbench.report.terminal import listings
    from marsbench.report.terminal.console import TerminalProgress, out

    read_bundle_record(
        bundle
    )  # first: words in the wrong order are noticed by it, and reading it all takes long
    paths = audio_files(sources)
    predictions: list[tuple[Path, Prediction]] = []
    with TerminalProgress() as progress:
        loaded = read_bundle(bundle, registry_of(plugins), progress)
        with progress.track("Predicting", len(paths)) as advance:
            for path, answer in zip(paths, loaded.predict_each(paths), strict=True):
                if isinstance(answer, BenchError):
                    progress.say(str(answer))
                else:
                    predictions.append((path, answer))
                advance(1)
    if as_json:
        print_json([_values(*entry) for entry in predictions])
    elif as_csv:
        print_csv(_csv_rows(predictions, loaded.labels))
    else:
        out.print(listings.prediction_table(predictions))
        for path, prediction in predictions:
            if len(prediction.windows) > 1:
                out.print(listings.timeline(path, prediction))
        out.print(worth_phrase(loaded.record.origin), style="dim", markup=False)
    for line in _warnings(predictions):
        warn(line)
    if n_bad := len(paths) - len(predictions):
        warn(f"{n_bad} of {len(paths)} files could not be used", "red")
        raise typer.Exit(1)


def _warnings(predictions: "list[tuple[Path, Prediction]]") -> Iterator[str]:
    """What may make predictions wrong."""
    from marsbench.deployment.bundle import beyond_full_scale

    if n_narrow := sum(prediction.is_narrowband for _, prediction in predictions):
        yield (
            f"{n_narrow} of {len(predictions)} files have a lower sample rate than any training clip: "
            "missing high frequencies may change the prediction"
        )
    for path, prediction in predictions:
        if prediction.is_far_beyond_full_scale:
            yield f"{path}: {beyond_full_scale(prediction.peak)}"


def _values(path: Path, prediction: "Prediction") -> dict[str, Any]:
    return {
        "file": str(path),
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": prediction.by_label(),
        "seconds": prediction.seconds,
        "is_narrowband": prediction.is_narrowband,
        "windows": [
            {
                "start": window.start,
                "end": window.end,
                "probabilities": prediction.by_label(window.probabilities),
            }
            for window in prediction.windows
        ],
    }


def _csv_rows(
    predictions: list[tuple[Path, "Prediction"]], labels: tuple[str, ...]
) -> Iterator[list[object]]:
    yield ["file", "label", "confidence", *(f"p_{label}" for label in labels)]
    for path, prediction in predictions:
        yield [path, prediction.label, prediction.confidence, *prediction.probabilities.tolist()]
