"""Plots as SVG: learning curves, reliability diagrams and spectrograms, and what they are drawn with.

They are small enough to be legible on a phone; colours come from the page's style sheet.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import floor, isfinite, log10

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from marsbench.data.audio import Waveform, resample
from marsbench.errors import ResultsError
from marsbench.evaluation.formulas import N_BINS, Bin, calibration_error, log_loss, reliability
from marsbench.evaluation.predictions import Predictions
from marsbench.results.store import RunFolder

Ticks = Sequence[tuple[float, str]]
"""Values on an axis, each with its label."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 12, 38
"""Room for labels, in pixels."""
LABELS_HEIGHT = _TOP + _BOTTOM
"""Pixels of a plot's height that are not between its axes."""


@dataclass(frozen=True)
class Plot:
    """A pair of axes; ranges are (from, to) in the data's units."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int = 360
    height: int = 240
    left: int = _LEFT
    """Room for the labels of the vertical axis, in pixels."""

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return self.left + _share(value, self.x_range) * (self.width - self.left - _RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self.height - _BOTTOM - _share(value, self.y_range) * (self.height - _TOP - _BOTTOM)

    def line(self, points: Iterable[tuple[float, float]], kind: str, tooltip: str = "") -> Markup:
        """A line through points, in the data's units; a pointer that rests on it shows the tooltip."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return mark("polyline", kind, tooltip_of(tooltip), points=path)

    def grid(self, x_ticks: Ticks, y_ticks: Ticks, x_label: str, y_label: str) -> Markup:
        """Grid lines, tick labels and names of both axes."""
        left, right = map(self.x, self.x_range)
        bottom, top = map(self.y, self.y_range)
        body = Markup()
        for value, label in y_ticks:
            body += self.line([(end, value) for end in self.x_range], "gridline")
            body += mark("text", "tick end", label, x=left - 6, y=self.y(value) + 4)
        for value, label in x_ticks:
            body += self.line([(value, end) for end in reversed(self.y_range)], "gridline")
            body += mark("text", "tick middle", label, x=self.x(value), y=bottom + 16)
        body += mark("text", "axis middle", x_label, x=(left + right) / 2, y=self.height - 4)
        turned = Markup('<g transform="translate(11 {:.1f}) rotate(-90)">{}</g>')
        return body + turned.format((top + bottom) / 2, mark("text", "axis middle", y_label, x=0, y=0))

    def svg(self, body: Markup, label: str) -> Markup:
        """The finished plot; `label` describes it for screen readers."""
        return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            self.width, self.height, label, body
        )


def mark(tag: str, kind: str, inside: str, **places: float | str) -> Markup:
    """An SVG element of a class of the style sheet, with places in pixels; what is `inside` is escaped."""
    attributes = Markup().join(
        Markup(' {}="{}"').format(name, value if isinstance(value, str) else f"{value:.1f}")
        for name, value in places.items()
    )
    return Markup('<{0} class="{1}"{2}>{3}</{0}>').format(tag, kind, attributes, inside)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between two bounds, at most `most` + 1 of them."""
    width = max(high - low, 1e-9)
    power = 10.0 ** floor(log10(width / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power * most >= width)
    first = -(-low // step)
    count = int((high - first * step) / step + 1e-6) + 1
    return [(first + number) * step for number in range(count)]


def _share(value: float, bounds: tuple[float, float]) -> float:
    return (value - bounds[0]) / ((bounds[1] - bounds[0]) or 1.0)


def tooltip_of(tooltip: str) -> Markup:
    """What a pointer that rests on a mark shows; nothing for no words."""
    return Markup("<title>{}</title>").format(tooltip) if tooltip else Markup()


_VALIDATION = "val_"
_MOST_PLOTS = 6
Curve = list[tuple[int, float]]
"""(epoch from 1, value)."""


@dataclass(frozen=True)
class LearningCurves:
    """A plot for each metric of the training history."""

    plots: list[tuple[str, Markup]]
    """Name of the metric, plot."""
    has_validation: bool
    """Whether the plots also show clips kept aside for early stopping."""
    problems: list[str]
    """One line for each fold whose fit cannot be read."""


def learning_curves(folder: RunFolder, n_folds: int) -> LearningCurves:
    """Plots of a run's learning curves; the files of damaged fits are reported and left as they are."""
    histories: dict[int, list[dict[str, float]]] = {}
    is_there = (folder.path / "units").is_dir()
    problems = [] if is_there or not n_folds else ["the fits of each fold are not among the run's files"]
    for fold in range(n_folds if is_there else 0):
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
    """One line per fold: solid for training, dashed for validation clips."""
    fitted = {fold: _curve(rows, name) for fold, rows in histories.items()}
    validation = {fold: _curve(rows, _VALIDATION + name) for fold, rows in histories.items()}
    points = [point for curves in (fitted, validation) for curve in curves.values() for point in curve]
    if not points:
        return Markup("<p>{}: no finite value</p>").format(name)
    bounds = bounds_of([value for _, value in points])
    last = max(epoch for epoch, _ in points)
    epochs = [(epoch, f"{epoch:g}") for epoch in nice_ticks(1, last, 6) if epoch == int(epoch)]
    values = [(value, f"{value:.3g}") for value in nice_ticks(*bounds, 5)]
    plot = Plot((1, max(last, 2)), bounds, height=220)
    body = plot.grid(epochs, values, "epoch", name.replace("_", " "))
    for kind, name_of, curves in (("fit", "training", fitted), ("validation", "validation", validation)):
        for fold, curve in curves.items():
            if curve:
                body += plot.line(curve, f"{kind} fold-{fold % 5}", f"fold {fold + 1}, {name_of}")
    ends = [curve[-1][1] for curve in fitted.values() if curve]
    reached = f"{min(ends):.3g} to {max(ends):.3g}" if ends else "unknown"
    return plot.svg(body, f"{name} by epoch, {len(histories)} folds; last epoch: {reached}")


def _curve(rows: Sequence[dict[str, float]], name: str) -> Curve:
    return [(epoch, row[name]) for epoch, row in enumerate(rows, 1) if name in row and isfinite(row[name])]


def bounds_of(values: Sequence[float]) -> tuple[float, float]:
    """A range that holds all values, with a little room, from 0 on if that is not far."""
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low < high / 2 else low - room), high + room


@dataclass(frozen=True)
class Calibration:
    """How confidence, the probability of the predicted class, compares with accuracy."""

    error: float
    """Expected calibration error: mean distance of accuracy from confidence, weighted by clips."""
    log_loss: float
    """Mean negative logarithm of the true class's probability, in nats."""
    chance: float
    """Log loss of equal probabilities for all classes, in nats."""
    curve: Markup
    """Reliability diagram."""


def calibration(predictions: Predictions) -> Calibration:
    """Calibration of predictions, with its reliability diagram."""
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
    width = plot.x(1 / N_BINS) - plot.x(0) - 4
    for confidence, _, n in bins:
        at = min(int(np.ceil(confidence * N_BINS)), N_BINS) / N_BINS
        x, y = plot.x(at - 1 / N_BINS) + 2, plot.y(0.25 * n / most)
        size = tooltip_of(f"{n:,} of {n_clips:,} clips")
        body += mark("rect", "share", size, x=x, y=y, width=width, height=plot.y(0) - y)
    body += plot.line([(0, 0), (1, 1)], "ideal")
    body += plot.line([(confidence, accuracy) for confidence, accuracy, _ in bins], "curve")
    for confidence, accuracy, n in bins:
        told = f"confidence {100 * confidence:.0f} %, accuracy {100 * accuracy:.0f} %, {n:,} clips"
        radius = 2.5 + 3.5 * (n / most) ** 0.5
        body += mark(
            "circle", "point", tooltip_of(told), cx=plot.x(confidence), cy=plot.y(accuracy), r=radius
        )
    body += mark("text", "hint", "underconfident", x=plot.x(0.03), y=plot.y(0.94))
    body += mark("text", "hint end", "overconfident", x=plot.x(0.97), y=plot.y(0.34))
    described = "; ".join(f"accuracy {100 * a:.0f} % at {100 * c:.0f} % confidence" for c, a, _ in bins)
    return plot.svg(body, f"Reliability diagram: {described}")


_TICKS = [(value / 5, f"{20 * value} %") for value in range(6)]


RATE = 16_000
"""Sampling rate of spectrograms and players, in Hz."""
_WINDOW, _HOP = 512, 256
_N_MELS = 64
_MAX_FRAMES = 320
_RANGE_DB = 70.0
"""Dynamic range below the loudest cell; anything quieter is as dark as silence."""
SHADES = 32
_TICKS_KHZ = (0.5, 1, 2, 4, 8)


def draw_spectrogram(waveform: Waveform, label: str) -> Markup:
    """The clip's log-mel spectrogram with axes in s and kHz; `label` names the clip."""
    clip = resample(waveform, RATE)
    plot = Plot((0, clip.seconds), (0, float(_mel(RATE / 2))), width=300, height=170)
    left, right, top, bottom = plot.x(0), plot.x(clip.seconds), plot.y(plot.y_range[1]), plot.y(0)
    picture = Markup(
        '<image x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" preserveAspectRatio="none" href="{}"/>'
    ).format(left, top, right - left, bottom - top, png_uri(shades(clip.samples)))
    times = [(second, f"{second:g}") for second in nice_ticks(0, clip.seconds, 5)]
    pitches = [(float(_mel(1000 * pitch)), f"{pitch:g}") for pitch in _TICKS_KHZ]
    return plot.svg(picture + plot.grid(times, pitches, "s", "kHz"), f"Log-mel spectrogram of {label}")


def shades(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Shade of each mel band and frame of a 16 kHz waveform, (n_mels, n_frames); the highest band first."""
    padded = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    hop = max(_HOP, len(padded) // _MAX_FRAMES)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2
    level = 10 * np.log10(np.maximum(power @ _filters().T, 1e-10))
    share = np.clip((level - level.max()) / _RANGE_DB + 1, 0, 1)
    return np.asarray(np.round(share.T[::-1] * (SHADES - 1)), np.uint8)


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """A PNG of shades of the viridis palette, as a data URI."""
    from matplotlib import colormaps

    picture = Image.fromarray(pixels)
    picture.putpalette(colormaps["viridis"](np.linspace(0, 1, SHADES), bytes=True)[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@cache
def _filters() -> NDArray[np.float64]:
    """Triangular filters of equal width in mel, (n_mels, n_frequencies)."""
    edges = np.linspace(0, _mel(RATE / 2), _N_MELS + 2)
    at = _mel(np.arange(_WINDOW // 2 + 1) * RATE / _WINDOW)
    rise = (at - edges[:-2, None]) / (edges[1] - edges[0])
    triangles = np.maximum(0, np.minimum(rise, 2 - rise))
    # The lowest bands are narrower than a frequency bin: each gets at least its nearest bin.
    nearest = np.abs(at - edges[1:-1, None]).argmin(axis=1)
    triangles[np.arange(_N_MELS), nearest] = np.maximum(triangles[np.arange(_N_MELS), nearest], 0.5)
    return np.asarray(triangles / triangles.sum(axis=1, keepdims=True), np.float64)


def _mel(frequency: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """O'Shaughnessy's (1987) mel scale."""
    return np.asarray(2595 * np.log10(1 + np.asarray(frequency) / 700))
