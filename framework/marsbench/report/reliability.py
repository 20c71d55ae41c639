"""Whether probabilities can be taken at their word."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from marsbench.evaluation.calibration import N_BINS, Bin, calibration_error, log_loss, reliability
from marsbench.report.outcomes import Outcomes
from marsbench.report.svg import Plot, circle, line, rectangle, text


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


def calibration(outcomes: Outcomes) -> Calibration:
    """Calibration of the most probable class, and its reliability diagram."""
    targets, probabilities = outcomes.targets, outcomes.probabilities
    bins = reliability(targets, probabilities)
    return Calibration(
        error=calibration_error(bins),
        log_loss=log_loss(targets, probabilities),
        chance=float(np.log(probabilities.shape[1])),
        curve=_draw(bins, len(targets)),
    )


def _draw(bins: list[Bin], n_clips: int) -> Markup:
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
