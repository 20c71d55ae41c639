"""HTML of the page: figures of a recording over time, and tables, which are macros of `tables.html.j2`."""

import base64
import csv
import io
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from marsbench.data.audio import Waveform
from marsbench.deployment.bundle_record import BaseRecord
from marsbench.deployment.prediction import Prediction, csv_rows
from marsbench.errors import BenchError, cleaned
from marsbench.report.charts import SHADES, Plot, nice_ticks, png_uri
from marsbench.report.columns import formatted, threshold_text
from marsbench.results.schema import training_words

WIDTH, HEIGHT = 300, 170
"""In pixels; those of the spectrogram of `report.charts`, which is shown below the waveform."""
_COLUMNS = 240
_STYLE = """
text { fill: #74808d; font: 11px system-ui, sans-serif; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.gridline { stroke: #808a96; stroke-opacity: .25; fill: none; }
.wave { fill: #1f77c9; stroke: #1f77c9; stroke-width: .6; }
image { image-rendering: pixelated; }
"""
"""Legible on light and dark background: an image does not see the page's style."""


def as_image(svg: Markup, description: str) -> Markup:
    """A plot as an `<img>`, because Streamlit removes SVG from HTML."""
    whole = str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    start = whole.index(">") + 1
    data = base64.b64encode(f"{whole[:start]}<style>{_STYLE}</style>{whole[start:]}".encode()).decode()
    return Markup('<img class="plot" alt="{}" src="data:image/svg+xml;base64,{}">').format(description, data)


def draw_waveform(waveform: Waveform) -> Markup:
    """Lowest and highest sample over time; the vertical axis ends at the largest amplitude."""
    low, high = envelope(waveform.samples)
    peak = float(max(-low.min(), high.max()))
    plot = Plot((0, waveform.seconds), (-peak, peak), WIDTH, HEIGHT)
    at = np.linspace(0, waveform.seconds, len(low))
    outline = [*zip(at, high, strict=True), *zip(at[::-1], low[::-1], strict=True)]
    times = [(second, f"{second:g}") for second in nice_ticks(0, waveform.seconds, 5)]
    levels = [(-peak, f"-{peak:.2g}"), (0.0, "0"), (peak, f"{peak:.2g}")]
    return plot.svg(plot.grid(times, levels, "s", "amplitude") + plot.line(outline, "wave"), "Waveform")


def envelope(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest sample in each of at most 240 equal parts, both (n_parts,)."""
    starts = np.unique(np.linspace(0, len(samples), _COLUMNS, endpoint=False).astype(int))
    return np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)


def timeline(prediction: Prediction) -> Markup:
    """Probability of each class over time, brighter where it is higher, dark where there is no window.

    Labels are HTML around the image, so that they are as large on a phone as on other screens.
    """
    shades = np.asarray(np.round(over_time(prediction) * (SHADES - 1)), np.uint8)
    labels = Markup().join(Markup("<span>{}</span>").format(label) for label in prediction.labels)
    times = Markup().join(
        Markup('<span style="left:{:.2f}%">{:g}{}</span>').format(
            100 * second / prediction.seconds, second, "" if second else " s"
        )
        for second in nice_ticks(0, prediction.seconds, 5)
    )
    return Markup(
        '<div class="timeline"><div class="labels">{}</div>'
        '<img alt="Probability of each class over time" src="{}"><div class="times">{}</div></div>'
    ).format(labels, png_uri(shades), times)


def over_time(prediction: Prediction, n_columns: int = _COLUMNS) -> NDArray[np.float64]:
    """Mean probability of the windows over each moment, (n_classes, n_columns); 0 where there is none."""
    edges = np.linspace(0, prediction.seconds, n_columns + 1)
    moments = (edges[1:] + edges[:-1]) / 2
    starts = np.array([window.start for window in prediction.windows])
    ends = np.array([window.end for window in prediction.windows])
    covers = (starts[:, None] <= moments) & (moments < ends[:, None])
    rows = np.stack([window.probabilities for window in prediction.windows])
    return np.asarray(rows.T @ covers / np.maximum(covers.sum(axis=0), 1), np.float64)


def segments(prediction: Prediction) -> list[tuple[float, float, str, float]]:
    """Stretches with one most probable class: start and end in seconds, class, its mean probability.

    Windows overlap by half: each stands for the time until the next one starts.
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


def as_csv(rows: Iterable[tuple[str, Prediction | BenchError]], record: BaseRecord) -> str:
    """What `bench predict --csv` prints of the files that have a prediction."""
    found = [(cleaned(file), one) for file, one in rows if isinstance(one, Prediction)]
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(csv_rows(found, record))
    return lines.getvalue()


def table(macro: str, *arguments: Any) -> Markup:
    """A table, by the name of its macro in `tables.html.j2`, which says what its arguments are."""
    return Markup(getattr(_macros(), macro)(*arguments))  # noqa: S704 - Jinja escapes what is put in


@cache
def _macros() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["threshold"] = threshold_text
    environment.filters["training_words"] = training_words
    environment.filters["share"] = lambda share, threshold: formatted(share, "share", threshold=threshold)
    return environment.get_template("tables.html.j2").module
