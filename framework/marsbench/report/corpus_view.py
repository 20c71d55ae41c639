"""The corpora behind a page: how many clips of each class and speaker, how long, how loud and how alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from marsbench.data.corpus import AudioFacts, Clip, decibels
from marsbench.plugin.registry import Recipe
from marsbench.report.charts import LABELS_HEIGHT, Plot, mark, nice_ticks, tooltip_of
from marsbench.report.feature_map import FeatureMap, map_features
from marsbench.report.run_view import CorpusAudio, RunView
from marsbench.results.schema import CorpusRecord, Standing

_N_BARS = 24
_DB = "dB of full scale"
_ROW, _LEFT, _NAME = 32, 12, 13
"""Pixels: height of a class, left edge, and from a row's top to the base of its name."""
_MIDDLE = 10, 50, 90
"""Percentiles at the ends of a class's line and at its mark."""
_SHOWN = 0.9
"""Share of a bar's place that it fills."""


@dataclass(frozen=True)
class CorpusView:
    """One corpus; counts are of the clips that a run tested."""

    record: CorpusRecord
    classes: list[tuple[str, int]]
    """Label, clips."""
    speakers: list[int]
    """Clips of each speaker, ascending; empty if none is known."""
    n_checked: int
    """Clips whose audio this machine has checked, and whose files have not changed since."""
    seconds: float
    """All of these together."""
    plots: list[tuple[str, Markup]]
    """Durations and levels of these, each with what it shows; empty if there are none."""
    feature_map: FeatureMap | None
    """None if no features of a shown pipeline are in this machine's store."""

    @property
    def most(self) -> int:
        """Clips of the largest class."""
        return max((count for _, count in self.classes), default=1) or 1


def view_corpora(
    runs: Iterable[RunView], others: Sequence[Standing], audio: Mapping[str, CorpusAudio]
) -> list[CorpusView]:
    """Each corpus of the runs in detail once.

    Args:
        runs: in detail.
        others: further runs whose features may be shown, where those of the former are not in the store.
        audio: by the corpus's fingerprint.
    """
    runs = list(runs)
    all_runs: list[Standing] = [*(view.run for view in runs), *others]
    seen: dict[str, CorpusView] = {}
    for view in runs:
        record = view.run.corpus
        if view.run.metrics and record.fingerprint not in seen:
            recipes = [run.features for run in all_runs if run.corpus.fingerprint == record.fingerprint]
            found = audio.get(record.fingerprint)
            seen[record.fingerprint] = _view(view, found.checked if found else [], recipes)
    return list(seen.values())


def _view(view: RunView, checked: Sequence[tuple[Clip, AudioFacts]], recipes: Sequence[Recipe]) -> CorpusView:
    record = view.run.corpus
    classes = view.run.metrics.classes if view.run.metrics else []
    seconds = [facts.seconds for _, facts in checked]
    return CorpusView(
        record,
        [(scores.label, scores.n_clips) for scores in classes],
        sorted(entry.n_clips for entry in view.speakers),
        len(checked),
        sum(seconds),
        _plots(checked, record.labels) if checked else [],
        map_features(recipes, checked),
    )


def _plots(checked: Sequence[tuple[Clip, AudioFacts]], labels: Sequence[str]) -> list[tuple[str, Markup]]:
    levels: dict[str, list[float]] = {label: [] for label in labels}
    for clip, facts in checked:
        levels.setdefault(clip.label, []).append(decibels(facts.rms))
    seconds = [facts.seconds for _, facts in checked]
    peaks = [decibels(facts.peak) for _, facts in checked]
    of_levels = (
        "Level (RMS) by class: median, and from the 10th to the 90th percentile of the clips. A sine of full "
        "scale has -3 dB."
    )
    return [
        ("Duration by number of clips.", draw_histogram(seconds, "duration", "s")),
        ("Peak level by number of clips.", draw_histogram(peaks, "peak level", _DB)),
        (of_levels, draw_levels(levels)),
    ]


def draw_levels(levels: Mapping[str, Sequence[float]]) -> Markup:
    """Median and most of the levels in dB of each class that has some."""
    ends = {name: np.percentile(values, _MIDDLE) for name, values in levels.items() if values}
    low, high = min(one[0] for one in ends.values()) - 1, max(one[2] for one in ends.values()) + 1
    height = _ROW * len(ends)
    # On the vertical axis pixels below the top.
    plot = Plot((low, high), (height, 0), height=height + LABELS_HEIGHT, left=_LEFT)
    body = plot.grid([(tick, f"{tick:g}") for tick in nice_ticks(low, high)], [], f"RMS level, {_DB}", "")
    for place, (name, (start, middle, end)) in enumerate(ends.items()):
        top, y = _ROW * place, _ROW * place + _ROW * 0.7
        told = f"{name}: median {middle:.1f} dB, 80 % of clips {start:.1f} to {end:.1f} dB"
        body += mark("text", "name", name, x=_LEFT, y=plot.y(top + _NAME))
        body += mark("text", "name end", f"{middle:.1f}", x=plot.x(high), y=plot.y(top + _NAME))
        body += plot.line([(start, y), (end, y)], "interval", told)
        body += mark("circle", "spot", tooltip_of(told), cx=plot.x(middle), cy=plot.y(y), r=4.5)
    medians = "; ".join(f"{name} {middle:.1f}" for name, (_, middle, _) in ends.items())
    return plot.svg(body, f"Median RMS level in dB by class: {medians}")


def draw_histogram(values: Sequence[float], name: str, unit: str) -> Markup:
    """How many values lie in each of some bars of equal width."""
    low, high = min(values), max(values)
    width = (high - low) / _N_BARS or 1.0
    counts = [0] * _N_BARS
    for value in values:
        counts[min(int((value - low) / width), _N_BARS - 1)] += 1
    high = low + _N_BARS * width
    plot = Plot((low, high), (0, max(counts) * 1.05), height=200)
    across = [(tick, f"{tick:g}") for tick in nice_ticks(low, high)]
    up = [(tick, f"{tick:,.0f}") for tick in nice_ticks(0, max(counts), 4) if tick == int(tick)]
    body = plot.grid(across, up, f"{name}, {unit}", "clips")
    for place, count in enumerate(counts):
        left, right = plot.x(low + place * width), plot.x(low + (place + _SHOWN) * width)
        told = f"{low + place * width:.3g} to {low + (place + 1) * width:.3g} {unit}: {count:,} clips"
        top = plot.y(count)
        sides = {"x": left, "y": top, "width": right - left, "height": plot.y(0) - top}
        body += mark("rect", "bar", tooltip_of(told), **sides) if count else ""
    described = f"{name} of {len(values):,} clips: {low:.3g} to {max(values):.3g} {unit}"
    return plot.svg(body, described)
