"""The course of tuning as a picture."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from marsbench.report.picture import plain, write_png
from marsbench.results.trials import Study, Trial


def plot_history(studies: Sequence[Study], title: str, path: Path) -> None:
    """Write a PNG: score by number of the trial, a colour a fold, the best so far as a line."""
    figure = Figure(figsize=(7.5, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for study in studies:
        _draw(axes, study, f"C{study.fold % 10}")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"inner {studies[0].objective.replace('_', ' ')}" if studies else "")
    axes.set_title(plain(title), fontsize=10)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if studies:
        axes.legend(fontsize=8, title="o complete, x pruned", title_fontsize=8)
    write_png(figure, path)


def _draw(axes: Axes, study: Study, colour: str) -> None:
    complete = [trial for trial in study.trials if trial.state == "complete"]
    pruned = [trial for trial in study.trials if trial.state == "pruned" and trial.score is not None]
    axes.scatter(*_points(complete), color=colour, s=18)
    axes.scatter(*_points(pruned), color=colour, s=14, marker="x", alpha=0.4, linewidths=0.8)
    if complete:
        numbers, scores = _points(complete)
        best, last = list(accumulate(scores, max)), len(study.trials) - 1
        label = f"fold {study.fold + 1}: {best[-1]:.3f}"
        axes.step([*numbers, last], [*best, best[-1]], where="post", color=colour, linewidth=1, label=label)


def _points(trials: Sequence[Trial]) -> tuple[list[int], list[float]]:
    return [trial.number for trial in trials], [trial.score or 0.0 for trial in trials]
