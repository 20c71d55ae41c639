"""Two runs side by side, for a terminal and for programs."""

from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.evaluation.significance import ALPHA, Difference
from marsbench.report.columns import metric_text
from marsbench.report.terminal.console import table as empty_table
from marsbench.results.comparison import Comparison
from marsbench.results.schema import Run


def report(found: Comparison, top: int = 10) -> RenderableType:
    """Scores, difference with what chance could have done, McNemar's table, and `top` clips (0: all)."""
    return Group(
        _scores(found.first, found.second),
        _difference(found.difference),
        _mcnemar(found),
        *_clips(found, top),
    )


def as_values(found: Comparison) -> dict[str, Any]:
    """The same as plain values."""
    difference = found.difference
    return {
        "first": found.first.run_id,
        "second": found.second.run_id,
        f"{RANKED_BY}_difference": difference.score.model_dump(),
        "p_clips": difference.p_clips,
        "p_folds": difference.p_folds,
        "is_real": difference.is_real(),
        "mcnemar": {"table": found.table, "p": found.p_mcnemar},
        "disagreements": found.disagreements.to_dict("records"),
    }


def _scores(*runs: Run) -> Table:
    table = empty_table("", "run", title=f"{runs[0].corpus.name}, {runs[0].protocol.name}")
    for metric in METRICS.values():
        table.add_column(metric.header, justify="right")
    for mark, run in zip("AB", runs, strict=True):
        metrics = run.metrics
        assert metrics is not None, "compare() refuses runs without"  # noqa: S101 - for the type checker
        name = f"{run.features.name} + {run.model.name}{', tuned' if run.tuning else ''}, seed {run.seed}"
        scores = (metric_text(metrics, metric) for metric in METRICS.values())
        table.add_row(mark, escape(f"{name}\n{run.run_id}"), *scores)
    return table


def _difference(difference: Difference) -> Text:
    score = difference.score
    folds = "one fold tells nothing" if difference.p_folds is None else f"p = {_p(difference.p_folds)}"
    answer = (
        "The data tell them apart."
        if difference.is_real()
        else "The data do not tell them apart: other clips or another training could turn it."
    )
    return Text(
        f"\nDifference in {METRICS[RANKED_BY].title}, A minus B: {100 * score.value:+.1f} points, "
        f"95 % interval {100 * score.low:+.1f} to {100 * score.high:+.1f}\n"
        f"  by chance of the clips and speakers (paired bootstrap)      p = {_p(difference.p_clips)}\n"
        f"  by chance of the training (corrected t-test over folds)     {folds}\n"
        f"{answer} (Both must be below {ALPHA:g}; a leaderboard also allows for its number of rows.)"
    )


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"


def _mcnemar(found: Comparison) -> RenderableType:
    title = f"\nClips, accuracy alone: McNemar's exact p = {_p(found.p_mcnemar)}"
    table = empty_table("")
    table.add_column("B right", justify="right")
    table.add_column("B wrong", justify="right")
    for name, counts in zip(("A right", "A wrong"), found.table, strict=True):
        table.add_row(name, *map(str, counts))
    return Group(Text(title, "bold"), table)


def _clips(found: Comparison, top: int) -> list[RenderableType]:
    clips = found.disagreements
    if clips.empty:
        return [Text("\nThey are right on the same clips.")]
    shown = clips.head(top or len(clips))
    table = empty_table("clip", "true", "A", "B", title="\nRight by one alone, surest first")
    for row in shown.itertuples():
        table.add_row(
            escape(str(row.clip)),
            escape(str(row.true)),
            escape(f"{row.first} {100 * float(str(row.first_probability)):.0f} %"),
            escape(f"{row.second} {100 * float(str(row.second_probability)):.0f} %"),
        )
    more = len(clips) - len(shown)
    return [table, *([Text(f"… and {more:,} more; --top 0 shows all.", "dim")] if more else [])]
