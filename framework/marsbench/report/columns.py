"""The columns of a leaderboard: one list that the terminal, Markdown, HTML, JSON and CSV are made from.

`columns` has an entry for each metric of `evaluation.metrics.METRICS`: a metric that is added there is shown
everywhere. Whatever else a row tells is added in this file, by an entry that says how it is taken from a row:

    Column("fingerprint", lambda row: row.board.fingerprint, "corpus digest", outputs={"data", "page"})
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from marsbench.config import Criteria, is_transductive
from marsbench.evaluation.metrics import METRICS, RANKED_BY, Metric, Unit
from marsbench.evaluation.scores import GRADED, Metrics
from marsbench.results.leaderboard import Board
from marsbench.results.row import WORST_RECALL, BoardKey, Row

Output = Literal["data", "terminal", "markdown", "page", "app"]
"""`data` is JSON, CSV and the API's data frame; `page` the HTML report; `app` the web page of a model."""
_TABLES: AbstractSet[Output] = {"terminal", "markdown", "page", "app"}
_EVERYWHERE: AbstractSet[Output] = {"data", *_TABLES}
_NOT_SHOWN: dict[str, AbstractSet[Output]] = {
    "uar": {"app"},
    "log_loss": {"app"},
    "calibration_error": {"app"},
}
"""Where a metric would make tables too wide; one that is not named here is shown in every output."""
_MOST_DIGITS = 6
_MIN_WIDTH = {RANKED_BY: 0, "accuracy": 108, "calibration_error": 129, "log_loss": 170}
"""From which width on a terminal shows a metric; one that is not named here from `_WIDE` on."""
_WIDE = 130
_OFTEN_EMPTY = {"new_speakers"}


class Cell(NamedTuple):
    """One row's entry in one column; each renderer sets it in its own way."""

    value: Any
    """What the column sorts by; None if it is not known."""
    text: str
    """The value as it is shown; empty if it is not known."""
    low: float | None = None
    """Ends of the 95 % interval, if it has one."""
    high: float | None = None
    threshold: float | None = None
    """What the value must exceed to meet the board's criteria."""
    note: str = ""
    """What belongs to the value, such as the class that it is of."""

    @property
    def reached(self) -> bool | None:
        """Whether the value exceeds its threshold; None without one."""
        return None if self.threshold is None else bool(self.value > self.threshold)


@dataclass(frozen=True)
class Column:
    """One fact of a row: how it is taken from it, how it is shown, and where."""

    name: str
    """Key in JSON and CSV."""
    take: Callable[[Row], Any] | None = None
    """Takes the value from a row; None for the entry of its `scores` that has the column's name."""
    header: str = ""
    title: str = ""
    """Name in full, for a legend."""
    explanation: str = ""
    """What it says, in a sentence, for a tooltip."""
    unit: Unit | None = None
    """None for what is no number."""
    digits: int = 1
    """Decimal places that are shown, of % for shares."""
    outputs: AbstractSet[Output] = frozenset({"data"})
    has_interval: bool = False
    """Whether the row's scores hold `NAME_low` and `NAME_high`."""
    criterion: str = ""
    """Name of its threshold in `Criteria`; empty if it has none."""
    note: Callable[[Row], str | None] | None = None
    min_width: int = 0
    """From which width on a terminal shows it; of columns that do not fit, the highest go first."""

    def cell(self, row: Row, criteria: Criteria) -> Cell:
        """The entry of a row; `criteria` are the board's."""
        value = self.take(row) if self.take else row.scores.get(self.name)
        if value is None:
            return Cell(None, "")
        threshold = getattr(criteria, self.criterion) if self.criterion else None
        return Cell(
            value,
            str(value) if self.unit is None else formatted(value, self.unit, self.digits, threshold),
            row.scores.get(f"{self.name}_low"),
            row.scores.get(f"{self.name}_high"),
            threshold,
            (self.note(row) if self.note else None) or "",
        )

    def data(self, row: Row | None, criteria: Criteria | None) -> dict[str, Any]:
        """Value, ends of its interval, and whether its threshold is exceeded, by their keys in JSON and CSV.

        Without a row or criteria every value is None.
        """
        cell = self.cell(row, criteria) if row and criteria else Cell(None, "")
        ends = {f"{self.name}_low": cell.low, f"{self.name}_high": cell.high} if self.has_interval else {}
        reached = {f"{self.criterion}_reached": cell.reached} if self.criterion else {}
        return {self.name: cell.value, **ends, **reached}


def shown_in(output: Output, width: int | None = None) -> list[Column]:
    """The columns of one output, in order; of a terminal those that its `width` has room for."""
    fits = (column for column in columns() if width is None or width >= column.min_width)
    return [column for column in fits if output in column.outputs]


def filled(output: Output, rows: Sequence[Row], width: int | None = None) -> list[Column]:
    """The columns of one output that tell something of the rows, or that every board has."""
    return [
        column
        for column in shown_in(output, width)
        if column.name not in _OFTEN_EMPTY or any(column.cell(row, Criteria()).text for row in rows)
    ]


def data_keys() -> list[str]:
    """Keys of every row in JSON, CSV and the API's data frame, in order."""
    return list(_data(shown_in("data"), None, None))


def data_rows(boards: Iterable[Board]) -> list[dict[str, Any]]:
    """Every row of the boards for programs, each by `data_keys`."""
    chosen = shown_in("data")
    return [_data(chosen, row, board.criteria) for board in boards for row in board.rows]


def _data(chosen: Iterable[Column], row: Row | None, criteria: Criteria | None) -> dict[str, Any]:
    return {key: value for column in chosen for key, value in column.data(row, criteria).items()}


def columns() -> tuple[Column, ...]:
    """Every column, in the order of all outputs."""
    of_counts = [_of_metric(metric) for metric in METRICS.values() if metric.from_confusion]
    of_probabilities = [_of_metric(metric) for metric in METRICS.values() if not metric.from_confusion]
    return *_IDENTITY, *of_counts, *_COSTS, *_VERDICT, *of_probabilities, *_MORE


def formatted(value: float, unit: Unit, digits: int = 1, threshold: float | None = None) -> str:
    """A number with its unit; shares in %, without the sign.

    A share has more digits where it would read as the `threshold` beside it that it is not.
    """
    if unit == "share":
        text = f"{100 * value:.{digits}f}"
        is_ambiguous = (
            threshold is not None and value != threshold and text == f"{100 * threshold:.{digits}f}"
        )
        more = is_ambiguous and digits < _MOST_DIGITS
        return formatted(value, unit, digits + 1, threshold) if more else text
    if unit == "seconds":
        return f"{value:,.1f} s" if value < 100 else f"{value:,.0f} s"
    if unit == "milliseconds":
        return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"
    return f"{value:,.0f}" if unit == "count" else f"{value:.{digits}f}"


def threshold_text(threshold: float) -> str:
    """A threshold in %, without the sign, with every digit that was asked for."""
    return max(formatted(threshold, "share"), f"{100 * threshold:.10g}", key=len)


def metric_text(metrics: Metrics, metric: Metric) -> str:
    """A run's value of a metric as it is shown; empty if it was not recorded."""
    value = metrics.value(metric.name)
    return "" if value is None else formatted(value, metric.unit, metric.digits)


def _of_metric(metric: Metric) -> Column:
    is_graded = metric.name in GRADED
    return Column(
        metric.name,
        None,
        metric.header,
        metric.title,
        f"{metric.explanation} {'Higher' if metric.higher_is_better else 'Lower'} is better.",
        metric.unit,
        metric.digits,
        _EVERYWHERE - _NOT_SHOWN.get(metric.name, set()),
        has_interval=metric.from_confusion is not None,
        criterion=metric.name if is_graded else "",
        min_width=_MIN_WIDTH.get(metric.name, _WIDE),
    )


def _corrected(end: str) -> Callable[[Row], Any]:
    """The score of a board's first row, corrected for that, or an end of its interval."""
    return lambda row: getattr(row.chosen.corrected, end) if row.chosen else None


def _other(name: str) -> Callable[[Row], Any]:
    """A score under the other kind of split."""
    return lambda row: row.other.scores.get(name) if row.other else None


_IDENTITY = (
    Column(
        "rank", lambda row: row.rank, "#", "rank", f"Position by {METRICS[RANKED_BY].title}.",
        "none", 0, _EVERYWHERE,
    ),
    Column(
        "letters", lambda row: row.letters and "".join(row.letters), "same", "no significant difference",
        "Two rows share a letter if and only if they have no significant difference.", outputs=_EVERYWHERE,
        min_width=134,
    ),
    Column("pipeline", attrgetter("pipeline"), "pipeline", outputs=_TABLES),
    *(Column(name, attrgetter(name)) for name in ("run_id", "run_ids", "finished")),
    *(Column(name, attrgetter(f"board.{name}")) for name in BoardKey._fields),
    *(Column(name, attrgetter(name)) for name in ("features", "model", "settings", "normalise", "seeds")),
    Column("transductive", lambda row: is_transductive(row.normalise)),
    Column("versions", lambda row: row.versions and row.versions.phrase),
    *(Column(name, attrgetter(name)) for name in ("status", "reason")),
    Column("n_clips"),
)  # fmt: skip
_COSTS = (
    Column(
        WORST_RECALL, None, "worst class", "recall of the worst class",
        "Share of the clips of the class that is recognised worst.", "share", outputs=_EVERYWHERE,
        has_interval=True, criterion="class_recall", note=lambda row: row.worst_class, min_width=109,
    ),
    Column("worst_class", lambda row: row.worst_class),
    Column(
        "new_speakers", lambda row: row.on_new_speakers, "new speakers",
        f"{METRICS[RANKED_BY].title} of the same pipeline on new speakers",
        "Scored under a protocol by speaker, if there is such a run.", "share",
        outputs={"data", "terminal", "markdown", "page"}, min_width=110,
    ),
    Column(
        "train_seconds", None, "training", "training time", "Seconds of fitting, summed over the folds.",
        "seconds", outputs={"data", "terminal", "page"}, min_width=180,
    ),
    Column("parameters", unit="count"),
    Column(
        "model_bytes", None, "size", "model size", "Bytes of the saved model, mean over folds.", "bytes",
        outputs={"data", "terminal", "page"}, min_width=128,
    ),
    Column(
        "milliseconds_per_clip", None, "latency", "time from a clip's file to its class",
        "Features one clip at a time, the model many clips at a time, on the machine that made the run.",
        "milliseconds", outputs={"data", "terminal", "page"}, min_width=127,
    ),
)  # fmt: skip
_VERDICT = (
    Column("verdict", lambda row: row.verdict, "verdict", outputs=_EVERYWHERE),
    Column("limits", lambda row: row.limits or None),
    Column(
        "pass_confidence", None, "P", "confidence that the weakest criterion is met, %",
        "From the draws behind the intervals: above 97.5 for a pass, below 2.5 for a fail.", "share", 0,
        outputs={"data", "terminal", "page"}, min_width=171,
    ),
)  # fmt: skip
_MORE = (
    Column(
        "fold_spread", None, "±", "standard deviation over folds", unit="share",
        outputs={"data", "terminal"}, min_width=172,
    ),
    *(Column(name) for name in ("seed_spread", "trials", "gain", "log_loss_change", "optimism")),
    *(Column(name, attrgetter(name)) for name in ("tuner", "asked", "ensemble", "members", "members_chosen")),
    Column("other_protocol", lambda row: row.other.board.protocol if row.other else None),
    *(Column(f"other_{name}", _other(name)) for name in (RANKED_BY, f"{RANKED_BY}_low", f"{RANKED_BY}_high")),
    *(
        Column(f"{RANKED_BY}_corrected{suffix}", _corrected(end))
        for suffix, end in (("", "value"), ("_low", "low"), ("_high", "high"))
    ),
    Column("n_candidates", lambda row: row.chosen.n_candidates if row.chosen else None),
    Column("gap", lambda row: row.speaker_gap),
    Column("views", lambda row: {view.board.protocol: view.ranked_score for view in row.views} or None),
    Column("run", lambda row: row.short_id, "run", outputs={"terminal", "markdown"}, min_width=126),
)  # fmt: skip
