"""Bundles and predictions as text for a terminal."""

import os
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.deployment.bundle_record import BaseRecord
from marsbench.deployment.prediction import Prediction
from marsbench.errors import shown_path
from marsbench.report.phrases import metrics_phrase
from marsbench.report.terminal.console import table as empty_table


def bundle_summary(record: BaseRecord, n_checked: int, tolerance: float) -> RenderableType:
    """A bundle's title, training clips and classes, the scores of its run, and how it was verified."""
    corpus = record.corpus
    trained_on = f"all {corpus.n_clips} clips of {corpus.name}"
    if record.fold is not None:
        trained_on = f"the {corpus.n_clips} clips of {corpus.name} that fold {record.fold + 1} trains on"
    lines = [
        Text(record.title, "bold"),
        Text(f"Trained on {trained_on}; {corpus.licence}."),
        Text(f"Classes: {', '.join(record.labels)}. {record.sample_rate:,} Hz."),
    ]
    if corpus.synthetic:
        lines.append(Text("The training audio is synthetic: it will not recognise people.", "yellow"))
    if record.origin is not None:
        origin, scores = record.origin, metrics_phrase(record.origin.metrics)
        lines.append(Text(f"Scores of {origin.run_id} under {origin.protocol}: {scores}; {origin.verdict}."))
    if not n_checked:
        lines.append(Text("Not verified: it has no golden clips.", "yellow"))
        return Group(*lines)
    verified = (
        f"Verified on {n_checked} golden clips: probabilities as of the model in memory, to {tolerance:g}."
    )
    lines.append(Text(verified, "dim"))
    if record.quantised:
        lines.append(Text("On clips that are less clear, quantised weights may differ by more.", "dim"))
    return Group(*lines)


def prediction_table(predictions: list[tuple[Path, Prediction]]) -> Table:
    """One row per file, below their common folder: label, confidence, then the next two classes."""
    table = empty_table("file", "label", "confidence", "then")
    top = _common_folder([path for path, _ in predictions])
    if top is not None:
        table.title = escape(f"{shown_path(top)}{os.sep}")
    for path, prediction in predictions:
        ranked = sorted(prediction.by_label().items(), key=lambda item: -item[1])[1:3]
        then = ", ".join(f"{label} {100 * share:.0f} %" for label, share in ranked)
        name = shown_path(path.relative_to(top) if top else path)
        table.add_row(
            escape(name), escape(prediction.label), f"{100 * prediction.confidence:.1f} %", escape(then)
        )
    return table


def _common_folder(paths: list[Path]) -> Path | None:
    """The deepest folder that holds all files; None if it is the root or the working directory."""
    if len({path.is_absolute() for path in paths}) != 1:
        return None
    top = Path(os.path.commonpath([path.parent for path in paths]))
    return None if top in {Path(), Path(top.anchor)} else top


def timeline(path: Path, prediction: Prediction) -> RenderableType:
    """One row per window of a long recording."""
    table = empty_table("from", "to", "label", "confidence")
    table.title = f"\n{escape(shown_path(path))}: {prediction.seconds:.1f} s"
    for window in prediction.windows:
        shares = prediction.by_label(window.probabilities)
        label = max(shares, key=shares.__getitem__)
        table.add_row(
            f"{window.start:.1f} s", f"{window.end:.1f} s", escape(label), f"{100 * shares[label]:.1f} %"
        )
    return table
