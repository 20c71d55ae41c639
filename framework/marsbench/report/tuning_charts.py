"""What tuning tried: scores by trial, importance of parameters, all trials as parallel coordinates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite, log10

from markupsafe import Markup

from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import objective_title
from marsbench.report.charts import LABELS_HEIGHT, Plot, bounds_of, mark, nice_ticks, tooltip_of
from marsbench.results.store import RunFolder
from marsbench.results.studies import Study, Trial

MOST_PARAMETERS = 8
"""Axes of the parallel coordinates, those of the most important parameters."""
_LEFT = 12
_AXIS = 56
"""Pixels from one axis to the next."""
_LEAST_RATIO = 50
"""From which ratio of its values on, all above 0, an axis is logarithmic."""
_MOST_NAMED = 5
"""Values of a parameter that is no number; of more only the first and the last are named."""
_CROSS = 2.5


@dataclass(frozen=True)
class TuningCharts:
    """The pictures of one tuned run."""

    history: Markup
    importances: dict[str, float]
    """Share of each parameter in the variance of the score, largest first; empty if that cannot be told."""
    parallel: Markup | None
    """None for fewer than two different complete trials."""
    n_left_out: int
    """Parameters without an axis."""


def tuning_charts(folder: RunFolder) -> TuningCharts | None:
    """Pictures of the trials that are in a run's folder; None if there are none with a score."""
    studies = list(folder.study.studies())
    if not any(_scored(study) for study in studies):
        return None
    shares = _importances(folder)
    order = {name.partition(",")[0]: place for place, name in enumerate(shares)}
    trials = [trial for study in studies for trial in _complete(study)]
    names = sorted(_varied(trials), key=lambda name: (order.get(name, len(order)), name))
    drawn = names[:MOST_PARAMETERS]
    parallel = _draw_parallel(trials, drawn, objective_title(studies[0].objective)) if drawn else None
    return TuningCharts(_draw_history(studies), shares, parallel, len(names) - len(drawn))


def _importances(folder: RunFolder) -> dict[str, float]:
    from marsbench.tuning.journal import importances  # Optuna takes half a second

    try:
        return importances(folder.study.journal)
    except ResultsError:
        return {}


def _complete(study: Study) -> list[Trial]:
    return [trial for trial in _scored(study) if trial.state == "complete"]


def _scored(study: Study) -> list[Trial]:
    return [trial for trial in study.trials if trial.score is not None and isfinite(trial.score)]


def _score(trial: Trial) -> float:
    return trial.score or 0.0


def _told(study: Study, trial: Trial) -> str:
    return f"fold {study.fold + 1}, trial {trial.number}: {100 * _score(trial):.1f} %, {trial.state}"


def _draw_history(studies: Sequence[Study]) -> Markup:
    """A dot for each complete trial, a cross for each pruned one, the best so far as a line; by fold."""
    last = max(len(study.trials) for study in studies) - 1
    bounds = bounds_of([_score(trial) for study in studies for trial in _scored(study)])
    plot = Plot((0, max(last, 1)), bounds, height=240)
    numbers = [(tick, f"{tick:g}") for tick in nice_ticks(0, max(last, 1)) if tick == int(tick)]
    shares = [(tick, f"{100 * tick:.3g}") for tick in nice_ticks(*bounds, 5)]
    title = objective_title(studies[0].objective)
    body = plot.grid(numbers, shares, "trial", f"validation: {title}, %")
    for study in studies:
        fold = f"fold-{study.fold % 5}"
        complete = _complete(study)
        best = list(accumulate(map(_score, complete), max))
        if complete:
            points = _steps([trial.number for trial in complete], best, len(study.trials) - 1)
            body += plot.line(points, f"fit {fold}", f"fold {study.fold + 1}, best so far: {best[-1]:.3f}")
        for trial in _scored(study):
            x, y, told = plot.x(trial.number), plot.y(_score(trial)), tooltip_of(_told(study, trial))
            if trial.state == "complete":
                body += mark("circle", f"trial {fold}", told, cx=x, cy=y, r=2.6)
            else:
                body += mark("path", f"pruned {fold}", told, d=_cross(x, y))
    reached = "; ".join(f"fold {study.fold + 1}: {_reached(study)}" for study in studies)
    return plot.svg(body, f"Validation score by trial. Best of {reached}")


def _reached(study: Study) -> str:
    best = study.best
    return "none complete" if best is None else f"{100 * _score(best):.1f} % by trial {best.number}"


def _steps(numbers: Sequence[int], best: Sequence[float], last: int) -> list[tuple[float, float]]:
    points = [(float(numbers[0]), best[0])]
    for number, score in zip(numbers[1:], best[1:], strict=True):
        points += [(number, points[-1][1]), (number, score)]
    return [*points, (last, best[-1])]


def _cross(x: float, y: float) -> str:
    arms = ((-_CROSS, -_CROSS, _CROSS, _CROSS), (-_CROSS, _CROSS, _CROSS, -_CROSS))
    return " ".join(f"M{x + a:.1f},{y + b:.1f}L{x + c:.1f},{y + d:.1f}" for a, b, c, d in arms)


def _varied(trials: Iterable[Trial]) -> list[str]:
    """Parameters that have more than one value."""
    values: dict[str, set[object]] = {}
    for trial in trials:
        for name, value in trial.configuration.items():
            values.setdefault(name, set()).add((type(value) is bool, value))
    return [name for name, found in values.items() if len(found) > 1]


@dataclass(frozen=True)
class _Axis:
    """Where each value of a parameter stands, from 0 to 1, and which values are named."""

    name: str
    places: Mapping[object, float]
    ticks: list[tuple[float, str]]

    @classmethod
    def of(cls, name: str, values: Sequence[object]) -> "_Axis":
        """An axis of numbers, or of names in their order."""
        numbers = [value for value in values if _is_number(value)]
        if len(numbers) == len(values):
            return cls._of_numbers(name, [float(str(value)) for value in numbers], numbers)
        known = sorted(set(map(str, values)))
        places = {value: place / max(1, len(known) - 1) for place, value in enumerate(known)}
        named = known if len(known) <= _MOST_NAMED else [known[0], known[-1]]
        return cls(
            name, {value: places[str(value)] for value in values}, [(places[one], one) for one in named]
        )

    @classmethod
    def _of_numbers(cls, name: str, numbers: Sequence[float], values: Sequence[object]) -> "_Axis":
        low, high = min(numbers), max(numbers)
        is_log = low > 0 and high / low >= _LEAST_RATIO
        scaled = [log10(number) if is_log else number for number in numbers]
        start, width = min(scaled), (max(scaled) - min(scaled)) or 1.0
        places = {value: (one - start) / width for value, one in zip(values, scaled, strict=True)}
        return cls(f"{name}, log" if is_log else name, places, [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _draw_parallel(trials: Sequence[Trial], names: Sequence[str], title: str) -> Markup:
    """A line a trial, from axis to axis, past parameters that it lacks; the best quarter stands out."""
    axes = [
        _Axis.of(name, [trial.configuration[name] for trial in trials if name in trial.configuration])
        for name in names
    ]
    scores = [100 * _score(trial) for trial in trials]
    axes.append(_Axis.of(f"validation: {title}, %", scores))
    height = _AXIS * len(axes)
    plot = Plot((0, 1), (height, 0), height=height + LABELS_HEIGHT, left=_LEFT)
    body = Markup()
    limit = sorted(scores)[-max(1, len(scores) // 4)]
    for trial, score in sorted(zip(trials, scores, strict=True), key=lambda pair: pair[1]):
        values = [trial.configuration.get(name, _MISSING) for name in names]
        ats = [axis.places.get(value) for axis, value in zip(axes, [*values, score], strict=True)]
        points = [(at, _AXIS * (place + 0.6)) for place, at in enumerate(ats) if at is not None]
        kind = "tried best" if score >= limit else "tried"
        body += plot.line(points, kind, f"trial {trial.number}: {score:.1f} %")
    for place, axis in enumerate(axes):
        body += _draw_axis(plot, axis, _AXIS * (place + 0.6))
    return plot.svg(body, f"Parallel coordinates of {len(trials)} trials: {', '.join(names)}, {title}")


_MISSING = object()


def _draw_axis(plot: Plot, axis: _Axis, y: float) -> Markup:
    body = plot.line([(0, y), (1, y)], "scale-line")
    body += mark("text", "name", axis.name, x=plot.x(0), y=plot.y(y) - 8)
    sides = {0.0: "", 1.0: " end"}
    for at, label in axis.ticks:
        side = sides.get(at, " middle")
        body += mark("text", f"tick{side}", label, x=plot.x(at), y=plot.y(y) + 14)
    return body
