"""`bench predict`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marsbench.cli.options import Json, Plugins, registry_of
from marsbench.cli.output import print_csv, print_json, warn
from marsbench.errors import BenchError

if TYPE_CHECKING:  # a command imports what computes when it is called
    from marsbench.deployment.prediction import Prediction

_MOST_NAMED = 5
"""Files that are unlike the training clips, each named in a line."""


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

    Examples:
        bench predict bundle clip.wav
        bench predict bundle recordings --csv > emotions.csv
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv cannot be used together")
    from marsbench.deployment.bundle_files import read_bundle, read_bundle_record
    from marsbench.deployment.bundle_record import worth_phrase
    from marsbench.deployment.prediction import csv_rows
    from marsbench.deployment.sources import audio_files
    from marsbench.report.terminal.console import TerminalProgress

    # First: words in the wrong order are noticed by it, and reading it all takes long.
    read_bundle_record(bundle)
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
        tested = loaded.record.origin and loaded.record.origin.tested._asdict()
        print_json([{"file": str(path), **one.as_dict(), "tested": tested} for path, one in predictions])
    elif as_csv:
        print_csv(csv_rows(predictions, loaded.record))
    elif predictions:
        _print(predictions, worth_phrase(loaded.record.origin))
    for line in _warnings(predictions):
        warn(line)
    if n_bad := len(paths) - len(predictions):
        warn(f"{n_bad} of {len(paths)} files could not be used", "red")
        raise typer.Exit(1)


def _print(predictions: "list[tuple[Path, Prediction]]", worth: str) -> None:
    """The table, a timeline of each long recording, and what the predictions are worth."""
    from marsbench.report.terminal import listings
    from marsbench.report.terminal.console import out

    out.print(listings.prediction_table(predictions))
    for path, prediction in predictions:
        if len(prediction.windows) > 1:
            out.print(listings.timeline(path, prediction))
    out.print(worth, style="dim", markup=False)


def _warnings(predictions: "list[tuple[Path, Prediction]]") -> Iterator[str]:
    """What may make predictions wrong."""
    from marsbench.deployment.prediction import beyond_full_scale

    if n_narrow := sum(prediction.is_narrowband for _, prediction in predictions):
        yield (
            f"{n_narrow} of {len(predictions)} files have a lower sample rate than any training clip: "
            "missing high frequencies may change the prediction"
        )
    for path, prediction in predictions:
        if prediction.is_far_beyond_full_scale:
            yield f"{path}: {beyond_full_scale(prediction.peak)}"
    yield from _unlike(predictions)


def _unlike(predictions: "list[tuple[Path, Prediction]]") -> Iterator[str]:
    """A line for each of the first files that are unlike the training clips, and one for the others."""
    from marsbench.report.phrases import unlike_phrase

    unlike = [(path, one.novelty) for path, one in predictions if one.is_unlike and one.novelty is not None]
    for path, novelty in unlike[:_MOST_NAMED]:
        yield f"{path} is {unlike_phrase(novelty)}"
    if (more := len(unlike) - _MOST_NAMED) > 0:
        yield f"{more} more of {len(predictions)} files are unlike the training clips, see --csv or --json"
