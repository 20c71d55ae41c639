"""Predictions and scores as HTML that fits a phone; colours are in `style.css`."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from marsbench.app.figures import segments
from marsbench.config import Criteria
from marsbench.deployment.bundle_record import Origin
from marsbench.deployment.prediction import Prediction
from marsbench.evaluation.criteria import Outcome, grade
from marsbench.evaluation.scores import Metrics
from marsbench.report.columns import Column, shown_in
from marsbench.report.phrases import criterion_name, verdict_words
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row

_SIGNS = {"pass": "✓ pass", "fail": "✗ fail", "undecided": "? undecided"}
_UNIT = "\N{NO-BREAK SPACE}%"
_DARK = 0.65
"""Share of a row above which a cell is so dark that its number is white."""


def best_class(prediction: Prediction) -> Markup:
    """The most probable class and its probability."""
    n_windows = len(prediction.windows)
    return Markup('<p class="answer"><strong>{}</strong> <span>{} confidence{}</span></p>').format(
        prediction.label,
        _percent(prediction.confidence),
        f", mean of {n_windows} windows" if n_windows > 1 else "",
    )


def bars(prediction: Prediction) -> Markup:
    """One bar per class, in the bundle's order."""
    rows = Markup()
    for label, share in prediction.by_label().items():
        rows += Markup(
            '<tr class="{}"><th scope="row">{}</th><td class="track"><i style="width:{:.1f}%"></i></td>'
            '<td class="num">{}</td></tr>'
        ).format("best" if label == prediction.label else "", label, 100 * share, _percent(share))
    return Markup('<table class="bars" aria-label="Probability of each class">{}</table>').format(rows)


def segment_table(prediction: Prediction) -> Markup:
    """Stretches of a long recording with one most probable class."""
    return table(
        ("from, s", "to, s", "emotion", "confidence"),
        [
            (f"{start:.1f}", f"{end:.1f}", label, _percent(share))
            for start, end, label, share in segments(prediction)
        ],
    )


def verdict(origin: Origin) -> Markup:
    """The run's verdict on its criteria, and the probability of passing."""
    words = verdict_words(grade(origin.metrics, origin.criteria))
    if origin.pass_probability is not None:
        words += f" Probability of meeting every criterion: {_percent(origin.pass_probability)}."
    return Markup("<p>Verdict: {}<br>{}</p>").format(badge(origin.verdict), words)


def grades(origin: Origin) -> Markup:
    """One row per criterion: threshold, score with interval, outcome."""
    return table(
        ("criterion", "score, 95 % interval", "outcome"),
        [
            (
                _over(criterion_name(entry.criterion), f"must exceed {100 * entry.threshold:.0f}{_UNIT}"),
                _with_range(entry.score.value, entry.score.low, entry.score.high),
                badge(entry.outcome),
            )
            for entry in grade(origin.metrics, origin.criteria)
        ],
    )


def confusion(metrics: Metrics) -> Markup:
    """Counts by true class (rows) and predicted class (columns), shaded by the share of the row."""
    labels = [scores.label for scores in metrics.classes]
    head = Markup().join(Markup('<th scope="col"><span>{}</span></th>').format(label) for label in labels)
    body = Markup().join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(label, _cells(label, labels, counts))
        for label, counts in zip(labels, metrics.confusion, strict=True)
    )
    return _scrolled(
        Markup(
            '<table class="confusion" aria-label="Confusion matrix"><thead><tr><td>true ↓ predicted →</td>{}'
            "</tr></thead><tbody>{}</tbody></table>"
        ).format(head, body)
    )


def _cells(truth: str, labels: Sequence[str], counts: Sequence[int]) -> Markup:
    total = max(1, sum(counts))
    return Markup().join(
        Markup('<td class="{}" style="--share:{:.0f}%" title="{} predicted as {}: {} of {}">{}</td>').format(
            "deep" if count > _DARK * total else "", 100 * count / total, truth, label, count, total, count
        )
        for label, count in zip(labels, counts, strict=True)
    )


def leaderboard(board: Board, run_id: str | None) -> Markup:
    """One row per configuration; the one of `run_id` is marked."""
    columns = shown_in("app")
    return table(
        [column.header for column in columns],
        [[_board_cell(column, row, board.criteria) for column in columns] for row in board.rows],
        [run_id in row.run_ids for row in board.rows],
        "plain board",
    )


def _board_cell(column: Column, row: Row, criteria: Criteria) -> object:
    cell = column.cell(row, criteria)
    if column.name == "pipeline":
        return Markup('{}<br><small class="id">{}</small>').format(cell.text, row.run_id)
    if column.name == "verdict":
        return badge(row.verdict) if row.verdict else row.status
    if column.unit != "share" or cell.low is None or cell.high is None:
        return cell.text or "-"
    interval = f"{100 * cell.low:.1f}-{100 * cell.high:.1f}"
    return _over(f"{cell.text}{_UNIT}", ", ".join(word for word in (cell.note, interval) if word))


def badge(outcome: Outcome | None) -> Markup:
    """A verdict as sign, word and colour."""
    return Markup('<span class="badge {}">{}</span>').format(outcome, _SIGNS.get(outcome or "", "-"))


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    marked: Sequence[bool] | None = None,
    style: str = "plain",
) -> Markup:
    """A table that scrolls sideways on a narrow screen."""
    head = Markup().join(Markup('<th scope="col">{}</th>').format(header) for header in headers)
    body = Markup().join(
        Markup('<tr class="{}">{}</tr>').format(
            "focus" if marked and marked[number] else "",
            Markup().join(Markup("<td>{}</td>").format(cell) for cell in row),
        )
        for number, row in enumerate(rows)
    )
    return _scrolled(
        Markup('<table class="{}"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>').format(
            style, head, body
        )
    )


def _scrolled(inner: Markup) -> Markup:
    return Markup('<div class="scroll" tabindex="0">{}</div>').format(inner)


def _over(first: object, second: object) -> Markup:
    return Markup("{}<br><small>{}</small>").format(first, second)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}{_UNIT}"


def _with_range(value: float | None, low: float | None, high: float | None) -> Markup:
    if low is None or high is None:
        return Markup.escape(_percent(value))
    return _over(_percent(value), f"{100 * low:.1f}-{100 * high:.1f}")
