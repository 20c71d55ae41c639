"""Plots as SVG, small enough to stay legible on a phone; colours come from the page's style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from markupsafe import Markup

Ticks = Sequence[tuple[float, str]]
"""Values on an axis, each with its label."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 12, 38
"""Room for labels, in pixels."""


@dataclass(frozen=True)
class Plot:
    """A pair of axes; ranges are (from, to) in the data's units."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int = 360
    height: int = 240

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return _LEFT + _share(value, self.x_range) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self.height - _BOTTOM - _share(value, self.y_range) * (self.height - _TOP - _BOTTOM)

    def grid(self, x_ticks: Ticks, y_ticks: Ticks, x_label: str, y_label: str) -> Markup:
        """Grid lines, tick labels and names of both axes."""
        left, right = self.x(self.x_range[0]), self.x(self.x_range[1])
        top, bottom = self.y(self.y_range[1]), self.y(self.y_range[0])
        body = Markup()
        for value, label in y_ticks:
            body += line([(left, self.y(value)), (right, self.y(value))], "gridline")
            body += text(left - 6, self.y(value) + 4, label, "tick end")
        for value, label in x_ticks:
            body += line([(self.x(value), top), (self.x(value), bottom)], "gridline")
            body += text(self.x(value), bottom + 16, label, "tick middle")
        body += text((left + right) / 2, self.height - 4, x_label, "axis middle")
        turned = Markup('<g transform="translate(11 {:.1f}) rotate(-90)">{}</g>')
        return body + turned.format((top + bottom) / 2, text(0, 0, y_label, "axis middle"))

    def svg(self, body: Markup, label: str) -> Markup:
        """The finished plot; `label` says in words what it shows."""
        return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            self.width, self.height, label, body
        )


def line(points: Sequence[tuple[float, float]], kind: str, told: str = "") -> Markup:
    """A line through points, in pixels; `told` is shown where a pointer rests on it."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline class="{}" points="{}">{}</polyline>').format(kind, path, _title(told))


def circle(x: float, y: float, radius: float, kind: str, told: str = "") -> Markup:
    """A dot."""
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}">{}</circle>').format(
        kind, x, y, radius, _title(told)
    )


def rectangle(x: float, y: float, width: float, height: float, kind: str, told: str = "") -> Markup:
    """A filled box."""
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">{}</rect>').format(
        kind, x, y, width, height, _title(told)
    )


def text(x: float, y: float, words: str, kind: str) -> Markup:
    """Words; `kind` may hold `middle` or `end` for how they stand to the point."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, words)


def image(x: float, y: float, width: float, height: float, uri: str) -> Markup:
    """A picture, stretched to fill its box."""
    return Markup(
        '<image x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" preserveAspectRatio="none" href="{}"/>'
    ).format(x, y, width, height, uri)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between two bounds, at most so many or one more."""
    width = max(high - low, 1e-9)
    power = 10.0 ** floor(log10(width / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power * most >= width)
    first = -(-low // step)
    count = int((high - first * step) / step + 1e-6) + 1
    return [(first + number) * step for number in range(count)]


def _share(value: float, bounds: tuple[float, float]) -> float:
    return (value - bounds[0]) / ((bounds[1] - bounds[0]) or 1.0)


def _title(told: str) -> Markup:
    return Markup("<title>{}</title>").format(told) if told else Markup()
