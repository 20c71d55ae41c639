"""How the final fit of each fold went, epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from markupsafe import Markup

from marsbench.errors import ResultsError
from marsbench.evaluation.calibration import N_BINS, Bin, calibration_error, log_loss, reliability
from marsbench.evaluation.predictions import Predictions
from marsbench.report.svg import Plot, circle, line, nice_ticks, rectangle, text
from marsbench.results.store import RunFolder

_VALIDATION = "val_"
_MOST_PLOTS = 6
Curve = list[tuple[int, float]]
"""(epoch from 1, value)."""


@dataclass(frozen=True)
class LearningCurves:
    """A plot for each metric, and what stands in its place."""

    plots: list[tuple[str, Markup]]
    """Name of the metric, plot."""
    has_validation: bool
    problems: list[str]
    """Units that cannot be read."""


def learning_curves(folder: RunFolder, n_folds: int) -> LearningCurves:
    """Plots of a run's learning curves; damaged units are named and left as they are."""
    histories: dict[int, list[dict[str, float]]] = {}
    problems = []
    for fold in range(n_folds):
        try:
            unit = folder.read_unit(fold)
        except ResultsError as error:
            problems.append(str(error))
            continue
        if unit.history:
            histories[fold] = unit.history
    names = list(dict.fromkeys(name for rows in histories.values() for row in rows for name in row))
    shown = [name for name in names if not name.startswith(_VALIDATION)][:_MOST_PLOTS]
    plots = [(name.replace("_", " "), _draw(name, histories)) for name in shown]
    return LearningCurves(plots, len(names) > len(shown), problems)


def _draw(name: str, histories: dict[int, list[dict[str, float]]]) -> Markup:
    """Training solid, validation dashed, a line a fold."""
    fitted = {fold: _curve(rows, name) for fold, rows in histories.items()}
    aside = {fold: _curve(rows, _VALIDATION + name) for fold, rows in histories.items()}
    points = [point for curves in (fitted, aside) for curve in curves.values() for point in curve]
    if not points:
        return Markup("<p>{}: no finite value</p>").format(name)
    plot, body = _axes(name, points)
    for kind, words, curves in (("fit", "training", fitted), ("aside", "validation", aside)):
        for fold, curve in curves.items():
            body += _line(plot, curve, f"{kind} fold-{fold % 5}", f"fold {fold + 1}, {words}")
    ends = [curve[-1][1] for curve in fitted.values() if curve]
    return plot.svg(body, f"{name} by epoch, {len(histories)} folds; at the end {_spoken(ends)}")


def _axes(name: str, points: Curve) -> tuple[Plot, Markup]:
    """An empty plot with room for all points."""
    bounds = _bounds([value for _, value in points])
    last = max(epoch for epoch, _ in points)
    plot = Plot((1, max(last, 2)), bounds, height=220)
    epochs = [(epoch, f"{epoch:g}") for epoch in nice_ticks(1, last, 6) if epoch == int(epoch)]
    values = [(value, f"{value:.3g}") for value in nice_ticks(*bounds, 5)]
    return plot, plot.grid(epochs, values, "epoch", name.replace("_", " "))


def _line(plot: Plot, curve: Curve, kind: str, told: str) -> Markup:
    return line([(plot.x(epoch), plot.y(value)) for epoch, value in curve], kind, told) if curve else Markup()


def _curve(rows: Sequence[dict[str, float]], name: str) -> Curve:
    return [(epoch, row[name]) for epoch, row in enumerate(rows, 1) if name in row and isfinite(row[name])]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low < high / 2 else low - room), high + room


def _spoken(ends: Sequence[float]) -> str:
    return f"{min(ends):.3g} to {max(ends):.3g}" if ends else "unknown"


@dataclass(frozen=True)
class Calibration:
    """How confidence compares with accuracy."""

    error: float
    """Expected calibration error: mean distance of accuracy from confidence, weighted by clips."""
    log_loss: float
    """Mean negative logarithm of the true class's probability, in nats."""
    chance: float
    """The log loss of equal probabilities for all classes."""
    curve: Markup


def calibration(predictions: Predictions) -> Calibration:
    """Calibration of the most probable class, and its reliability diagram."""
    targets, probabilities = predictions.targets, predictions.probabilities
    bins = reliability(targets, probabilities)
    return Calibration(
        error=calibration_error(bins),
        log_loss=log_loss(targets, probabilities),
        chance=float(np.log(probabilities.shape[1])),
        curve=_draw_reliability(bins, len(targets)),
    )


def _draw_reliability(bins: list[Bin], n_clips: int) -> Markup:
    plot = Plot((0, 1), (0, 1), width=360, height=300)
    most = max(n for _, _, n in bins)
    body = plot.grid(_TICKS, _TICKS, "confidence", "accuracy")
    for confidence, _, n in bins:
        at = min(int(np.ceil(confidence * N_BINS)), N_BINS) / N_BINS
        body += rectangle(
            plot.x(at - 1 / N_BINS) + 2, plot.y(0.25 * n / most), plot.x(1 / N_BINS) - plot.x(0) - 4,
            plot.y(0) - plot.y(0.25 * n / most), "share", f"{n:,} of {n_clips:,} clips",
        )  # fmt: skip
    body += line([(plot.x(0), plot.y(0)), (plot.x(1), plot.y(1))], "ideal")
    body += line([(plot.x(confidence), plot.y(accuracy)) for confidence, accuracy, _ in bins], "curve")
    for confidence, accuracy, n in bins:
        told = f"confidence {100 * confidence:.0f} %, accuracy {100 * accuracy:.0f} %, {n:,} clips"
        body += circle(plot.x(confidence), plot.y(accuracy), 2.5 + 3.5 * (n / most) ** 0.5, "point", told)
    body += text(plot.x(0.03), plot.y(0.94), "too modest", "hint")
    body += text(plot.x(0.97), plot.y(0.34), "too sure", "hint end")
    spoken = "; ".join(f"{100 * a:.0f} % right at {100 * c:.0f} % confidence" for c, a, _ in bins)
    return plot.svg(body, f"Reliability diagram: {spoken}")


_TICKS = [(value / 5, f"{20 * value} %") for value in range(6)]
