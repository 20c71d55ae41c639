"""Confusion matrix and tuning history as PNG."""

import io
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from marsbench.atomic_files import write_atomically
from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import METRICS, objective_title
from marsbench.evaluation.scores import GRADED, MOST_CLASSES
from marsbench.results.schema import Run
from marsbench.results.studies import Study, Trial


class Picture(Figure):
    """A figure that a notebook shows as it is: without pyplot, which tells IPython how to show others."""

    def _repr_png_(self) -> bytes:
        return _png(self)


def plot_confusion(run: Run, path: Path | None = None) -> Figure:
    """Counts by true and predicted class, shaded by the share of the true class; a PNG if a path is given.

    Raises:
        ResultsError: the run has no metrics.
    """
    if run.metrics is None:
        raise ResultsError(f"run {run.run_id} is not complete: it has no confusion matrix")
    labels = [_plain(scores.label) for scores in run.metrics.classes]
    counts = np.array(run.metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _draw(labels, counts, shares)
    axes = figure.axes[0]
    synthetic = " (synthetic)" if run.corpus.synthetic else ""
    graded = ", ".join(f"{METRICS[name].title} {100 * run.metrics[name].value:.1f} %" for name in GRADED)
    place = f"{run.corpus.name}{synthetic}, {run.protocol.name}"
    axes.set_title(f"{run.features.name} + {run.model.name}\n{place}: {graded}", fontsize=10)
    if path is not None:
        _write_png(figure, path)
    return figure


def _draw(labels: list[str], counts: np.ndarray, shares: np.ndarray) -> Figure:
    size, step = 2.5 + 0.6 * min(len(labels), MOST_CLASSES), -(-len(labels) // MOST_CLASSES)
    figure = Picture(figsize=(size + 0.8, size), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    axes.set_xticks(range(0, len(labels), step), labels[::step], rotation=45, ha="right")
    axes.set_yticks(range(0, len(labels), step), labels[::step])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), count in np.ndenumerate(counts) if step == 1 else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    return figure


def plot_history(studies: Sequence[Study], title: str, path: Path) -> None:
    """Write a PNG of scores by trial, one colour per fold, with the best score so far as a line."""
    figure = Figure(figsize=(7.5, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for study in studies:
        _draw_study(axes, study, f"C{study.fold % 10}")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"validation: {objective_title(studies[0].objective)}" if studies else "")
    axes.set_title(_plain(title), fontsize=10)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if studies:
        axes.legend(fontsize=8, title="o complete, x pruned", title_fontsize=8)
    _write_png(figure, path)


def _draw_study(axes: Axes, study: Study, colour: str) -> None:
    complete = [trial for trial in study.trials if trial.state == "complete"]
    pruned = [trial for trial in study.trials if trial.state == "pruned" and trial.score is not None]
    axes.scatter(*_points(complete), color=colour, s=18)
    axes.scatter(*_points(pruned), color=colour, s=14, marker="x", alpha=0.4, linewidths=0.8)
    if not complete:
        axes.plot([], color=colour, label=f"fold {study.fold + 1}")
    else:
        numbers, scores = _points(complete)
        best, last = list(accumulate(scores, max)), len(study.trials) - 1
        label = f"fold {study.fold + 1}: {best[-1]:.3f}"
        axes.step([*numbers, last], [*best, best[-1]], where="post", color=colour, linewidth=1, label=label)


def _points(trials: Sequence[Trial]) -> tuple[list[int], list[float]]:
    return [trial.number for trial in trials], [trial.score or 0.0 for trial in trials]


def _plain(text: str) -> str:
    """Text without formulas: matplotlib takes a dollar sign for the start of one."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _write_png(figure: Figure, path: Path) -> None:
    data = _png(figure)
    write_atomically(path, lambda file: file.write(data))
