"""The corpora behind a page: how many clips of each class and speaker, how long and how loud they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log10

from markupsafe import Markup

from marsbench.data.corpus import AudioFacts
from marsbench.report.charts import Plot, mark, nice_ticks, tooltip_of
from marsbench.report.run_view import CorpusAudio, RunView
from marsbench.results.schema import CorpusRecord

_N_BARS = 24
_LEAST_DB = -60.0
"""Peaks below, such as those of silence, count as it."""
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
    """Durations and peak levels of these, each with its name; empty if there are none."""

    @property
    def most(self) -> int:
        """Clips of the largest class."""
        return max((count for _, count in self.classes), default=1) or 1


def view_corpora(runs: Iterable[RunView], audio: Mapping[str, CorpusAudio]) -> list[CorpusView]:
    """Each corpus of the runs once; `audio` is by the corpus's fingerprint."""
    seen: dict[str, CorpusView] = {}
    for view in runs:
        record = view.run.corpus
        if view.run.metrics and record.fingerprint not in seen:
            found = audio.get(record.fingerprint)
            seen[record.fingerprint] = _view(view, record, found.facts if found else [])
    return list(seen.values())


def _view(view: RunView, record: CorpusRecord, facts: Sequence[AudioFacts]) -> CorpusView:
    classes = view.run.metrics.classes if view.run.metrics else []
    seconds = [fact.seconds for fact in facts]
    peaks = [max(_LEAST_DB, 20 * log10(fact.peak)) if fact.peak > 0 else _LEAST_DB for fact in facts]
    named = (("Duration", "s", seconds), ("Peak level", "dB of full scale", peaks))
    plots = [(name, draw_histogram(values, name.lower(), unit)) for name, unit, values in named if values]
    return CorpusView(
        record,
        [(scores.label, scores.n_clips) for scores in classes],
        sorted(entry.n_clips for entry in view.speakers),
        len(facts),
        sum(seconds),
        plots,
    )


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
