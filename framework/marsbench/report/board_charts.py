"""Pictures that tell which pipeline to ship: scores against costs, and all intervals on one axis."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, log10
from textwrap import wrap

from markupsafe import Markup

from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.report.board_notes import group_starts, shown_pipelines
from marsbench.report.charts import LABELS_HEIGHT, Plot, Ticks, mark, nice_ticks, tooltip_of
from marsbench.report.columns import Column, columns, formatted
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

MOST_DRAWN = 24
"""Pipelines in the picture of intervals, the best ones."""
MOST_SPOTS = 200
"""Pipelines in a picture of scores against costs, the best ones and those of the front."""
COSTS = {"milliseconds_per_clip": "fastest", "model_bytes": "smallest"}
"""What a pipeline costs, by the name of its column, and what the one that costs least is called."""
_LEFT = 12
_LINE, _BELOW = 14, 22
"""Pixels of a line of a name, and from the last one's base to the next pipeline's name."""
_NAME = 50
"""Characters of a name on one line."""
_ROOM, _LEAST_ROOM = 0.11, 0.08
_LABELS = ((-8, -6, "end"), (8, 14, "start"), (-8, 14, "end"), (8, -6, "start"))
"""Where a number may stand beside its dot, in pixels; the first place that is free is taken."""
_LABEL_SIZE = 15, 11


@dataclass(frozen=True)
class Front:
    """The rows of a board for which no other costs less and scores as much or more."""

    cost: Column
    plot: Markup
    rows: list[Row]
    """Cheapest first."""
    notes: list[str]
    """The cheapest pipelines that are as good as the best, or that pass, in a sentence each."""


@dataclass(frozen=True)
class BoardCharts:
    """The pictures of one leaderboard."""

    board: Board

    @cached_property
    def ranked(self) -> list[Row]:
        """The complete runs, best first."""
        return [row for row in self.board.shown_rows if row.rank is not None]

    @property
    def n_left_out(self) -> int:
        """How many rows the picture of intervals has no room for."""
        return max(0, len(self.ranked) - MOST_DRAWN)

    @property
    def other_protocols(self) -> list[str]:
        """Those that the hollow marks are of."""
        return sorted({row.other.board.protocol for row in self.ranked[:MOST_DRAWN] if row.other})

    @cached_property
    def intervals(self) -> Markup | None:
        """Every pipeline on one axis; None for fewer than two."""
        return _draw_intervals(self.board, self.ranked[:MOST_DRAWN]) if len(self.ranked) > 1 else None

    @cached_property
    def fronts(self) -> list[Front]:
        """Scores against each cost that at least two rows tell."""
        of_name = {column.name: column for column in columns()}
        found = []
        for name in COSTS:
            rows = [row for row in self.ranked if row.scores.get(name, 0.0) > 0]
            if len(rows) > 1:
                found.append(_front(self.board, rows, of_name[name]))
        return found


def pareto_front(rows: Iterable[Row], cost: str) -> list[Row]:
    """The rows that score more than every row that costs no more, cheapest first; of equal ones the first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.scores[cost], -row.scores[RANKED_BY])):
        if not front or row.scores[RANKED_BY] > front[-1].scores[RANKED_BY]:
            front.append(row)
    return front


def _front(board: Board, rows: Sequence[Row], cost: Column) -> Front:
    front = pareto_front(rows, cost.name)
    of_front = {row.run_id for row in front}
    drawn = [*rows[:MOST_SPOTS], *(row for row in rows[MOST_SPOTS:] if row.run_id in of_front)]
    return Front(cost, _draw_front(board, drawn, front, cost), front, list(_cheapest(rows, cost)))


def _cheapest(rows: Sequence[Row], cost: Column) -> Iterable[str]:
    """Sentences on the cheapest row that is level with the best, and the cheapest that passes."""
    best = rows[0]
    level = [row for row in rows[1:] if row.is_level_with(best)]
    passing = [row for row in rows if row.verdict == "pass"]
    word = COSTS[cost.name].capitalize()
    if level:
        one = min([best, *level], key=lambda row: row.scores[cost.name])
        beside = f"; the best: {_priced(best, cost)}" if one is not best else ""
        yield (
            f"{word} without a significant difference from the best: "
            f"{_numbered(one)}, {_priced(one, cost)}{beside}."
        )
    if passing:
        one = min(passing, key=lambda row: row.scores[cost.name])
        yield f"{word} that passes: {_numbered(one)}, {_priced(one, cost)}."
    else:
        yield "None passes."


def _numbered(row: Row) -> str:
    return f"#{row.rank} {row.pipeline}"


def _cost(row: Row, cost: Column) -> str:
    return formatted(row.scores[cost.name], cost.unit or "none", cost.digits)


def _priced(row: Row, cost: Column) -> str:
    return f"{_cost(row, cost)} for {formatted(row.scores[RANKED_BY], 'share')} %"


def _ends(row: Row) -> tuple[float, float, float]:
    """The ranking metric and the ends of its interval."""
    value = row.scores[RANKED_BY]
    return value, row.scores.get(f"{RANKED_BY}_low", value), row.scores.get(f"{RANKED_BY}_high", value)


def _told(row: Row, threshold: float) -> str:
    value, low, high = (formatted(share, "share", 1, threshold) for share in _ends(row))
    return f"{_numbered(row)}: {value} % ({low} to {high}), {row.verdict or row.status}"


def _in_tens(shares: Iterable[float]) -> tuple[float, float]:
    """The range that holds all shares, with ends in whole tens of %."""
    tens = [10 * share for share in shares]
    low = floor(min(tens))
    return low / 10, max(ceil(max(tens)), low + 1) / 10


def _percents(bounds: tuple[float, float]) -> Ticks:
    return [(share, f"{100 * share:.0f}") for share in nice_ticks(*bounds, 5)]


def _axis_name() -> str:
    return f"{METRICS[RANKED_BY].title}, %"


def _draw_front(board: Board, rows: Sequence[Row], front: Sequence[Row], cost: Column) -> Markup:
    threshold: float = getattr(board.criteria, RANKED_BY)
    shares = _in_tens([*(end for row in rows for end in _ends(row)), threshold])
    exponents = [log10(row.scores[cost.name]) for row in rows]
    room = max(_LEAST_ROOM, _ROOM * (max(exponents) - min(exponents)))
    plot = Plot((min(exponents) - room, max(exponents) + room), shares, height=300)
    body = plot.grid(_powers(plot.x_range, cost), _percents(shares), f"{cost.title}, log", _axis_name())
    body += plot.line([(end, threshold) for end in plot.x_range], "threshold")
    body += plot.line(_steps(front, cost.name), "front")
    for row in reversed(rows):  # the best ones on top
        x = log10(row.scores[cost.name])
        value, low, high = _ends(row)
        told = f"{_told(row, threshold)}, {_cost(row, cost)}"
        body += plot.line([(x, low), (x, high)], f"spread {row.verdict}", told)
        body += mark("circle", f"spot {row.verdict}", tooltip_of(told), cx=plot.x(x), cy=plot.y(value), r=4)
    body += _numbers(plot, front, cost.name)
    described = "; ".join(f"{_told(row, threshold)}, {_cost(row, cost)}" for row in front)
    return plot.svg(body, f"{METRICS[RANKED_BY].title} by {cost.title}. Pareto front: {described}")


def _steps(front: Sequence[Row], cost: str) -> list[tuple[float, float]]:
    """The front as a staircase: the score that each cost buys."""
    points: list[tuple[float, float]] = []
    for row in front:
        at = log10(row.scores[cost]), row.scores[RANKED_BY]
        points += [(at[0], points[-1][1])] if points else []
        points.append(at)
    return points


def _numbers(plot: Plot, front: Sequence[Row], cost: str) -> Markup:
    """Ranks beside the dots of the front, none upon another."""
    body, taken = Markup(), list[tuple[float, float]]()
    width, height = _LABEL_SIZE
    for row in reversed(front):
        x, y = plot.x(log10(row.scores[cost])), plot.y(row.scores[RANKED_BY])
        for right, down, anchor in _LABELS:
            place = x + right, y + down
            if all(abs(place[0] - a) >= width or abs(place[1] - b) >= height for a, b in taken):
                taken.append(place)
                body += mark("text", f"rank {anchor}", f"#{row.rank}", x=place[0], y=place[1])
                break
    return body


def _powers(exponents: tuple[float, float], cost: Column) -> Ticks:
    """Ticks of a logarithmic axis at 1, 2 and 5 times the powers of ten, at powers alone if it is long."""
    low, high = exponents
    factors = (1, 2, 5) if high - low <= 2 else (1,)
    values = [factor * 10.0**power for power in range(floor(low), ceil(high) + 1) for factor in factors]
    unit = cost.unit or "none"
    return [(log10(value), formatted(value, unit)) for value in values if low <= log10(value) <= high]


def _draw_intervals(board: Board, rows: Sequence[Row]) -> Markup:
    threshold: float = getattr(board.criteria, RANKED_BY)
    others = [row.other.scores[RANKED_BY] for row in rows if row.other]
    shares = _in_tens([*(end for row in rows for end in _ends(row)), *others, threshold])
    names = [
        wrap(f"#{row.rank} {name}", _NAME)
        for row, name in zip(rows, shown_pipelines(board, rows), strict=True)
    ]
    height = sum(_LINE * len(lines) + _BELOW for lines in names)
    # On the vertical axis pixels below the top.
    plot = Plot(shares, (height, 0), height=height + LABELS_HEIGHT, left=_LEFT)
    body = plot.grid(_percents(shares), [], _axis_name(), "")
    body += plot.line([(threshold, 0), (threshold, height)], "threshold")
    starts, top = set(group_starts(rows)), 0
    for place, (row, lines) in enumerate(zip(rows, names, strict=True)):
        if place in starts:
            body += plot.line([(share, top) for share in shares], "group")
        body += _entry(plot, row, lines, top, threshold)
        top += _LINE * len(lines) + _BELOW
    described = "; ".join(_told(row, threshold) for row in rows)
    return plot.svg(body, f"{METRICS[RANKED_BY].title} with 95 % intervals: {described}")


def _entry(plot: Plot, row: Row, lines: Sequence[str], top: float, threshold: float) -> Markup:
    """A pipeline's name and score, below them its interval, and its mark under the other kind of split."""
    body = Markup()
    value, low, high = _ends(row)
    right = plot.x(plot.x_range[1])
    for number, line in enumerate(lines, 1):
        body += mark("text", "name", line, x=_LEFT, y=plot.y(top + _LINE * number))
    score = formatted(value, "share", 1, threshold)
    body += mark("text", f"name end {row.verdict}", score, x=right, y=plot.y(top + _LINE))
    y = top + _LINE * len(lines) + _BELOW / 2 - 1
    told = _told(row, threshold)
    body += plot.line([(low, y), (high, y)], f"interval {row.verdict}", told)
    if row.other:
        other = f"{row.other.board.protocol}: {_told(row.other, threshold)}"
        body += _spot(plot, row.other, y, "hollow", other)
    return body + _spot(plot, row, y, f"spot {row.verdict}", told)


def _spot(plot: Plot, row: Row, y: float, kind: str, told: str) -> Markup:
    """A diamond for a score on new speakers, a circle for any other."""
    x, middle = plot.x(row.scores[RANKED_BY]), plot.y(y)
    if not row.board.speakers_apart:
        return mark("circle", kind, tooltip_of(told), cx=x, cy=middle, r=4.5)
    corners = ((0, -6), (6, 0), (0, 6), (-6, 0))
    points = " ".join(f"{x + right:.1f},{middle + down:.1f}" for right, down in corners)
    return mark("polygon", kind, tooltip_of(told), points=points)
