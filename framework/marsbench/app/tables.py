"""Predictions and scores as HTML that fits a phone: macros of `tables.html.j2`, colours of `style.css`."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from marsbench.app.figures import segments
from marsbench.deployment.bundle_record import Origin
from marsbench.deployment.prediction import Prediction
from marsbench.evaluation.criteria import grade
from marsbench.evaluation.scores import Metrics
from marsbench.report import phrases
from marsbench.report.columns import shown_in
from marsbench.results.leaderboard import Board


def prediction_table(prediction: Prediction) -> Markup:
    """The most probable class, then one bar per class in the bundle's order."""
    return _rendered("prediction", prediction)


def segment_table(prediction: Prediction) -> Markup:
    """Stretches of a long recording with one most probable class."""
    return _rendered("segments", segments(prediction))


def verdict(origin: Origin) -> Markup:
    """The run's verdict, the probability of passing, and one row per criterion."""
    return _rendered("verdict", origin, grade(origin.metrics, origin.criteria), phrases)


def confusion(metrics: Metrics) -> Markup:
    """Counts by true class (rows) and predicted class (columns), shaded by the share of the row."""
    return _rendered("confusion", metrics)


def leaderboard(board: Board, run_id: str | None) -> Markup:
    """One row per configuration; the one of `run_id` is marked."""
    return _rendered("leaderboard", board, shown_in("app"), run_id)


def _rendered(macro: str, *arguments: Any) -> Markup:
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
    return environment.get_template("tables.html.j2").module
