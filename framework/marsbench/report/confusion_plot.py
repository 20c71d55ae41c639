"""The confusion matrix as a picture."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from marsbench.errors import ResultsError
from marsbench.report.picture import plain, write_png
from marsbench.results.schema import Run


def plot_confusion(run: Run, path: Path) -> None:
    """Write `draw_confusion` as a PNG; raises ResultsError."""
    write_png(draw_confusion(run), path)


def draw_confusion(run: Run) -> Figure:
    """Share of each true class by predicted class, counts in the cells.

    Raises:
        ResultsError: the run has no metrics.
    """
    if run.metrics is None:
        raise ResultsError(f"run {run.run_id} is not complete: it has no confusion matrix")
    labels = [plain(scores.label) for scores in run.metrics.classes]
    counts = np.array(run.metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _draw(labels, counts, shares)
    axes = figure.axes[0]
    synthetic = " (synthetic)" if run.corpus.synthetic else ""
    accuracy, f1 = 100 * run.metrics.accuracy.value, 100 * run.metrics.macro_f1.value
    axes.set_title(
        f"{run.features.name} + {run.model.name}\n{run.corpus.name}{synthetic}, {run.protocol.name}: "
        f"accuracy {accuracy:.1f} %, macro F1 {f1:.1f} %",
        fontsize=10,
    )
    return figure


def _draw(labels: list[str], counts: np.ndarray, shares: np.ndarray) -> Figure:
    size = 2.5 + 0.6 * len(labels)
    figure = Figure(figsize=(size + 0.8, size), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    return figure
