"""What scores and boards mean, in sentences."""

from collections.abc import Sequence

from marsbench.config import Criteria
from marsbench.evaluation.criteria import Grade, Outcome, grade, verdict
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.evaluation.scores import Metrics
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row, short_id_of
from marsbench.results.schema import ProtocolRecord, Standing

_INTERVAL = "95\N{NO-BREAK SPACE}% interval"


def criterion_name(criterion: str) -> str:
    """A criterion as people say it."""
    name, _, label = criterion.partition(" ")
    return f"recall of {label}" if label else METRICS[name].title


def clips_words(standing: Standing) -> str:
    """How many clips were tested, of how many."""
    total = standing.corpus.n_clips
    tested = sum(entry.n_clips for entry in standing.metrics.classes) if standing.metrics else total
    return f"{total:,} clips" if tested == total else f"{tested:,} of {total:,} clips"


def split_words(protocol: ProtocolRecord) -> str:
    """How clips were divided."""
    return protocol.description or f"{protocol.n_folds} fold{'s' * (protocol.n_folds > 1)}"


def split_meaning(standing: Standing, n_speakers: int | None) -> str:
    """What the split lets one conclude."""
    if standing.protocol.by_speaker:
        return (
            "No speaker stands on both sides of a split: the scores tell how voices fare that the model has "
            "never heard."
        )
    if n_speakers == 0:
        return "The corpus names no speakers: how unknown voices would fare cannot be told."
    return (
        "The same speakers stand in training and test: the scores tell how well known voices are recognised. "
        "Expect less of voices that the model has never heard."
    )


def graded(metrics: Metrics, criteria: Criteria) -> list[Grade]:
    """Metrics against criteria."""
    return grade(metrics, criteria)


def verdict_words(grades: list[Grade]) -> str:
    """Whether the criteria are met and how sure that is."""
    outcome: Outcome = verdict(grades)
    if outcome == "pass":
        return f"It meets every criterion, and every {_INTERVAL} lies wholly above its threshold."
    decisive = [entry for entry in grades if entry.outcome == outcome]
    named = _listed([criterion_name(entry.criterion) for entry in decisive])
    if outcome == "fail":
        return f"It does not meet the criteria: the whole {_INTERVAL} of {named} lies below its threshold."
    if all(entry.reached for entry in grades):
        return f"Its scores exceed every threshold, not surely: the {_INTERVAL} of {named} reaches below."
    missed = _listed([criterion_name(entry.criterion) for entry in grades if not entry.reached])
    return f"It misses the threshold of {missed}, not surely: the {_INTERVAL} reaches above."


def _listed(words: list[str], most: int = 4) -> str:
    shown = [*words[:most], *([f"{len(words) - most} more"] if len(words) > most else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def row_details(row: Row) -> list[str]:
    """What tells a row from others of its plugins: settings, seeds, tuning, members; and its other view."""
    return [*_settings(row), *_seeds(row), *_tuning(row), *_members(row), *_other_view(row)]


def _settings(row: Row) -> list[str]:
    return [f"{name.partition('.')[2]}={value}" for name, value in row.settings.items()]


def _seeds(row: Row) -> list[str]:
    """Which seeds and what they differ by, or the one if it is not the default."""
    if len(row.seeds) > 1:
        first, last = min(row.seeds), max(row.seeds)
        without_gaps = last - first == len(row.seeds) - 1
        named = f"seeds {first} to {last}" if without_gaps else f"{len(row.seeds)} seeds"
        return [f"{named}, ± {100 * row.scores.get('seed_spread', 0.0):.1f}"]
    return [f"seed {row.seeds[0]}"] if row.seeds[0] else []


def _tuning(row: Row) -> list[str]:
    if row.tuner is None:
        return []
    words = [f"{name} {100 * row.scores[name]:+.1f}" for name in ("gain", "optimism") if name in row.scores]
    return [f"tuned, {row.scores['trials']} trials", *([", ".join(words)] if words else [])]


def _members(row: Row) -> list[str]:
    """Share and mark of each member, the heaviest first, two a line."""
    members = sorted((row.members or {}).items(), key=lambda member: -member[1])
    words = [f"{100 * weight:.0f} % {short_id_of(run_id)}" for run_id, weight in members]
    return [", ".join(words[start : start + 2]) for start in range(0, len(words), 2)]


def _other_view(row: Row) -> list[str]:
    if row.other is None or row.speaker_gap is None:
        return []
    score = row.other.scores[RANKED_BY]
    return [f"{row.other.board.protocol} {100 * score:.1f}, gap {100 * row.speaker_gap:+.1f}"]


def board_facts(shown: Board, rows: Sequence[Row]) -> list[str]:
    """What both sides of the split share, what equal ranks and a pipeline's words mean, what is left out."""
    lines = [*_more(shown.rows[len(rows) :]), *_both_sides(shown)]
    if shown.n_compared:
        lines.append(
            f"Equal #: not told apart by paired tests on the same clips (best {shown.n_compared}, Holm, 5 %)."
        )
    if any(len(row.seeds) > 1 for row in rows):
        lines.append("seeds: every score is the mean over them; ± behind them is that of macro F1 over them.")
    if any(row.tuner for row in rows):
        lines.append("gain: above the untuned run. optimism: what tuning saw inside, less what came of it.")
    if any(row.members for row in rows):
        lines.append("ensemble: its members' probabilities fused; %: shares of the weights, mean over folds.")
    if any(row.speaker_gap is not None for row in rows):
        lines.append("gap: macro F1 with the same speakers on both sides of the split, less that without.")
    if shown.n_older:
        lines.append(f"{shown.n_older} run(s) of older code are left out; --all shows them.")
    return lines


def _both_sides(shown: Board) -> list[str]:
    """What stands in training and test alike, by the nature of the protocol."""
    first = shown.rows[0].board
    shared = {"speakers": first.speakers_shared, "statements": first.statements_shared}
    words = " and ".join(f"{count} {what}" for what, count in shared.items() if count)
    return [f"On both sides of the split: {words}. Unknown ones may fare worse."] if words else []


def _more(hidden: Sequence[Row]) -> list[str]:
    """How many rows are not shown, if any, and how many of these failed."""
    n_failed = sum(row.status == "failed" for row in hidden)
    failed = f" ({n_failed:,} failed)" if n_failed else ""
    return [f"… and {len(hidden):,} more{failed}; --top 0 shows all."] if hidden else []
