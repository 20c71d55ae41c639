"""What stands beside and below a leaderboard's numbers: the names of its rows, cautions, meanings."""

from collections.abc import Sequence

from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.report.phrases import (
    CHOSEN,
    OPTIMISM,
    chosen_lines,
    letter_lines,
    pipeline_phrase,
    rise_of_log_loss,
    shared_lines,
)
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row
from marsbench.results.schema import NORMALISED, TRAINED_ON_VERSIONS


def shown_pipelines(shown: Board, rows: Sequence[Row]) -> list[str]:
    """The rows' pipelines on one line each, without the settings that `_common` tells."""
    common = _common(rows)
    names = []
    for row in rows:
        own = {name: value for name, value in row.settings.items() if name not in common}
        words = [pipeline_phrase(row._replace(settings=own))]
        words += ["chosen by hand"] if row.members_chosen == "by hand" else []
        rise = rise_of_log_loss(row)
        words += [f"log loss {rise:.2f} worse"] if rise else []
        words += [f"tuning ({one.short_id}) found nothing better" for one in shown.folded(row)]
        names.append(", ".join(words))
    return names


def _common(rows: Sequence[Row]) -> dict[str, object]:
    """Settings that are the same in every row with that plugin."""
    found: dict[str, object] = {}
    for name, value in ((name, value) for row in rows for name, value in row.settings.items()):
        plugin = name.partition(".")[0]
        using = [row for row in rows if plugin in {row.features, row.model}]
        if using and all(name in row.settings and row.settings[name] == value for row in using):
            found[name] = value
    return found


def _common_lines(rows: Sequence[Row]) -> list[str]:
    """The same settings by parameter and value, with the plugins that have them."""
    plugins: dict[str, list[str]] = {}
    for name, value in _common(rows).items():
        plugin, _, parameter = name.partition(".")
        plugins.setdefault(f"{parameter}={value}", []).append(plugin)
    return [f"{what} in all rows with {', '.join(named)}." for what, named in plugins.items()]


def group_starts(rows: Sequence[Row]) -> list[int]:
    """Positions of the rows that differ significantly from the first row of the group above them."""
    starts, first = [], rows[0] if rows else None
    for place, row in enumerate(rows):
        if first and first.letters and row.letters and not row.is_level_with(first):
            starts.append(place)
            first = row
    return starts


def caution_lines(shown: Board, rows: Sequence[Row]) -> list[str]:
    """What limits the scores or is left out: what a reader of the numbers must know."""
    lines = [*chosen_lines(shown.rows[0].chosen), *shared_lines(shown)]
    if hidden := shown.shown_rows[len(rows) :]:
        n_failed = sum(row.status == "failed" for row in hidden)
        failed = f" ({n_failed:,} failed)" if n_failed else ""
        lines.insert(0, f"… and {len(hidden):,} more{failed}; --top 0 shows all.")
    lines += dict.fromkeys(f"{NORMALISED[row.normalise]}." for row in rows if row.normalise)
    lines += [f"{TRAINED_ON_VERSIONS}."] if any(row.versions for row in rows) else []
    if any(row.members_chosen == "by hand" for row in rows):
        lines.append(f"chosen by hand: {CHOSEN['by hand']}")
    lines += _common_lines(rows)
    if shown.n_older:
        lines.append(f"{shown.n_older} run(s) of older code are not shown; --all shows them.")
    return lines


def board_notes(shown: Board, rows: Sequence[Row]) -> list[str]:
    """The cautions, and what the words and letters of the shown `rows` mean."""
    ranked_by = METRICS[RANKED_BY].title
    lines = [*caution_lines(shown, rows), *letter_lines(shown)]
    if any(len(row.seeds) > 1 for row in rows):
        lines.append(f"seeds: scores are means over the seeds; ± is the standard deviation of {ranked_by}.")
    if any(row.tuner for row in rows):
        lines.append(f"gain: {ranked_by} over the untuned run.")
    if any("optimism" in row.scores for row in rows):
        lines.append(OPTIMISM)
    if any(row.members for row in rows):
        lines.append("ensemble: % is a member's share of the weights, mean over folds.")
    if any(row.speaker_gap is not None for row in rows):
        lines.append(f"gap: {ranked_by} with shared speakers minus {ranked_by} on new speakers.")
    return lines
