"""Whether probabilities can be taken at their word."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from marsbench.report.outcomes import Outcomes
from marsbench.report.svg import Plot, circle, line, rectangle, text

N_BINS = 10
_LEAST = 1e-15
"""Probability at which log loss stops to grow, as that of a clip that was held for impossible."""


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
    bins = reliability(targets, probabilities, N_BINS)
    n_clips = sum(n for _, _, n in bins)
    of_truth = probabilities[np.arange(len(targets)), targets]
    return Calibration(
        error=sum(n * abs(accuracy - confidence) for confidence, accuracy, n in bins) / n_clips,
        log_loss=float(-np.log(np.maximum(of_truth, _LEAST)).mean()),
        chance=float(np.log(probabilities.shape[1])),
        curve=_draw(bins, n_clips),
    )


def reliability(
    targets: NDArray[np.int64], probabilities: NDArray[np.float64], n_bins: int
) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, clips) of each equal-width bin that has clips (Guo et al. 2017).

    Confidence is the probability of the most probable class; a bin includes its upper edge.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    inside = [bins == number for number in range(n_bins)]
    return [
        (float(confidence[rows].mean()), float(right[rows].mean()), int(rows.sum()))
        for rows in inside
        if rows.any()
    ]


def _draw(bins: list[tuple[float, float, int]], n_clips: int) -> Markup:
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
