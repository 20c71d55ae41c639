"""Pictures of a recording over time, on one scale."""

import base64
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from marsbench.data.audio import Waveform
from marsbench.deployment.prediction import Prediction
from marsbench.report.audio import png_uri
from marsbench.report.svg import Plot, line, nice_ticks

WIDTH, HEIGHT = 300, 170
"""As `report.spectrogram` has it: waveform and spectrogram stand below each other."""
_COLUMNS = 240
_SHADES = 31
"""The brightest of `png_uri`."""
_STYLE = """
text { fill: #74808d; font: 11px system-ui, sans-serif; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.gridline { stroke: #808a96; stroke-opacity: .25; fill: none; }
.wave { fill: #1f77c9; stroke: #1f77c9; stroke-width: .6; }
image { image-rendering: pixelated; }
"""
"""Legible on light and dark ground: a picture does not see the page's style."""


def as_image(svg: Markup, words: str) -> Markup:
    """A plot as an `<img>`: Streamlit drops SVG from HTML. `words` say what it shows."""
    whole = str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    start = whole.index(">") + 1
    data = base64.b64encode(f"{whole[:start]}<style>{_STYLE}</style>{whole[start:]}".encode()).decode()
    return Markup('<img class="plot" alt="{}" src="data:image/svg+xml;base64,{}">').format(words, data)


def draw_waveform(waveform: Waveform) -> Markup:
    """Lowest and highest sample over time, on a scale from the loudest one down."""
    low, high = envelope(waveform.samples)
    peak = float(max(-low.min(), high.max()))
    plot = Plot((0, waveform.seconds), (-peak, peak), WIDTH, HEIGHT)
    at = np.linspace(0, waveform.seconds, len(low))
    outline = [(plot.x(x), plot.y(y)) for x, y in zip(at, high, strict=True)]
    outline += [(plot.x(x), plot.y(y)) for x, y in zip(at[::-1], low[::-1], strict=True)]
    times = [(second, f"{second:g}") for second in nice_ticks(0, waveform.seconds, 5)]
    levels = [(-peak, f"-{peak:.2g}"), (0.0, "0"), (peak, f"{peak:.2g}")]
    return plot.svg(plot.grid(times, levels, "s", "amplitude") + line(outline, "wave"), "Waveform")


def envelope(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest sample of each of at most 240 stretches."""
    starts = np.unique(np.linspace(0, len(samples), _COLUMNS, endpoint=False).astype(int))
    return np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)


def timeline(prediction: Prediction) -> Markup:
    """Probability of each class over time, brighter where it is higher; dark where nothing is heard.

    HTML around a picture without words, so that the words are as large on a phone as elsewhere.
    """
    shades = np.asarray(np.round(over_time(prediction) * _SHADES), np.uint8)
    labels = Markup().join(Markup("<span>{}</span>").format(label) for label in prediction.labels)
    times = Markup().join(
        Markup('<span style="left:{:.2f}%">{:g}{}</span>').format(
            100 * second / prediction.seconds, second, "" if second else " s"
        )
        for second in nice_ticks(0, prediction.seconds, 5)
    )
    picture = Markup('<img alt="Probability of each class over time" src="{}">').format(png_uri(shades))
    return Markup(
        '<div class="timeline"><div class="labels">{}</div>{}<div class="times">{}</div></div>'
    ).format(labels, picture, times)


def over_time(prediction: Prediction, n_columns: int = _COLUMNS) -> NDArray[np.float64]:
    """Mean probability of the windows over each moment, (n_classes, n_columns); zero where there is none."""
    edges = np.linspace(0, prediction.seconds, n_columns + 1)
    moments = (edges[1:] + edges[:-1]) / 2
    starts = np.array([window.start for window in prediction.windows])
    ends = np.array([window.end for window in prediction.windows])
    covers = (starts[:, None] <= moments) & (moments < ends[:, None])
    rows = np.stack([window.probabilities for window in prediction.windows])
    return np.asarray(rows.T @ covers / np.maximum(covers.sum(axis=0), 1), np.float64)


def turns(prediction: Prediction) -> list[tuple[float, float, str, float]]:
    """Stretches with one most probable class: from, to, class, its mean probability.

    Windows overlap by half: each speaks for the time until the next one begins.
    """
    windows = prediction.windows
    ends = [min(before.end, after.start) for before, after in pairwise(windows)] + [windows[-1].end]
    merged: list[tuple[float, float, str, list[float]]] = []
    for window, end in zip(windows, ends, strict=True):
        best = int(window.probabilities.argmax())
        label, share = prediction.labels[best], float(window.probabilities[best])
        if merged and merged[-1][2] == label and window.start <= merged[-1][1]:
            start, _, _, shares = merged.pop()
            merged.append((start, end, label, [*shares, share]))
        else:
            merged.append((window.start, end, label, [share]))
    return [(start, end, label, float(np.mean(shares))) for start, end, label, shares in merged]
