"""What scores and leaderboards mean, in sentences."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor
from typing import TYPE_CHECKING

from marsbench.config import Criteria
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.evaluation.scores import (
    GRADED,
    ChosenScore,
    Grade,
    Metrics,
    Outcome,
    Score,
    growth_for_pass,
    verdict,
)
from marsbench.report.columns import formatted
from marsbench.results.leaderboard import Board, Unconfirmed
from marsbench.results.row import WORST_RECALL, Row, short_id_of
from marsbench.results.schema import ProtocolRecord, Standing, TuningRecord, training_words

if TYPE_CHECKING:  # importing what searches takes half a second
    from marsbench.automl.selection import SearchRecord

_MOST_GROWTH = 11
"""Beyond, the number of further speakers is a guess."""
OPTIMISM = (
    "optimism: validation minus test score of what tuning chose, less that of the untuned configuration; it "
    "is what selection added."
)
_INTERVAL = "95\N{NO-BREAK SPACE}% interval"


def criterion_name(criterion: str) -> str:
    """Name of a criterion in a sentence."""
    name, _, label = criterion.partition(" ")
    return f"recall of {label}" if label else METRICS[name].title


def thresholds(criteria: Criteria) -> str:
    """What scores must exceed to pass, in %."""
    named = [f"{METRICS[name].title} {100 * getattr(criteria, name):g}" for name in GRADED]
    return ", ".join([*named, f"recall of each class {100 * criteria.class_recall:g}"])


def n_clips_phrase(standing: Standing) -> str:
    """How many clips were tested, of how many in the corpus."""
    total = standing.corpus.n_clips
    tested = standing.metrics.n_clips if standing.metrics else total
    return f"{total:,} clips" if tested == total else f"{tested:,} of {total:,} clips"


def split_phrase(protocol: ProtocolRecord) -> str:
    """How the clips were split."""
    return protocol.description or f"{protocol.n_folds} fold{'s' * (protocol.n_folds > 1)}"


def split_meaning(standing: Standing, n_speakers: int | None) -> str:
    """What the scores of such a split say about new speakers."""
    if standing.protocol.corpora_apart:
        return (
            "Each fold tests a corpus that it was not trained on: the scores hold for new speakers of "
            "another corpus."
        )
    if standing.protocol.by_speaker:
        return "Train and test share no speakers: the scores hold for new speakers."
    if n_speakers == 0:
        return "The corpus names no speakers, so the scores say nothing about new speakers."
    return "Train and test share speakers: expect lower scores on new speakers."


def view_phrase(view: Row, criteria: Criteria | None = None) -> str:
    """Scores and verdict of a stricter view, to be read before those of the run that it stands above."""
    what = "new speakers" if view.board.speakers_apart else "new utterances of known speakers"
    return (
        f"On {what} ({view.board.protocol}): {scores_phrase(view.scores, view.worst_class or '', criteria)}; "
        f"{(view.verdict or view.status).upper()}. The scores below are of an easier split."
    )


def by_reason(failures: Iterable[Failure]) -> list[list[Failure]]:
    """Failures in groups of one message."""
    groups: dict[str, list[Failure]] = {}
    for failure in failures:
        groups.setdefault(failure.message, []).append(failure)
    return list(groups.values())


def fold_numbers(failures: Iterable[Failure]) -> str:
    """The folds that failed, counted from 1."""
    return ", ".join(str(failure.fold + 1) for failure in failures if failure.fold is not None)


def unlike_phrase(novelty: float) -> str:
    """That a recording of such a `Prediction.novelty` is unlike the training clips, and what follows."""
    share = f"{floor(1000 * novelty) / 10:.1f} % of" if novelty < 1 else "all"
    return (
        f"unlike the training clips: farther from them than {share} left-out training clips; the model's "
        "scores do not hold for it"
    )


def metrics_phrase(metrics: Metrics, criteria: Criteria | None = None) -> str:
    """The graded metrics and the recall of the worst class, as `scores_phrase` tells them."""
    values = {name: metrics[name].value for name in GRADED}
    return scores_phrase(values | {WORST_RECALL: metrics.worst.recall.value}, metrics.worst.label, criteria)


def scores_phrase(scores: Mapping[str, float], worst_class: str, criteria: Criteria | None = None) -> str:
    """The graded metrics of a row's `scores`, and the recall of its worst class.

    Beside `criteria`, a score that would read as the threshold that it is not has more digits.
    """
    named = [(METRICS[name].title, name, name) for name in GRADED]
    named.append((f"worst class {worst_class}", WORST_RECALL, "class_recall"))
    threshold = criteria.model_dump() if criteria else {}
    return ", ".join(
        f"{title} {formatted(scores[name], 'share', 1, threshold.get(criterion))} %"
        for title, name, criterion in named
    )


def weakest_phrase(pass_confidence: float | None, weakest: str | None) -> str:
    """The P that a verdict follows, with the criterion that it is of if that is known; empty without a P."""
    if pass_confidence is None:
        return ""
    name = f": {criterion_name(weakest)}" if weakest else ""
    return f"P {100 * pass_confidence:.0f} %, of its weakest criterion{name}"


def verdict_sentence(grades: list[Grade], limits: Sequence[str] = ()) -> str:
    """Whether the criteria are met, which of them decide the verdict, and why it is at most undecided."""
    return " ".join([_outcome_sentence(grades), *limit_lines(limits)])


def limit_lines(limits: Iterable[str]) -> list[str]:
    """Why a verdict is at most undecided, one sentence a reason."""
    return [f"The verdict can be at most UNDECIDED: {reason}." for reason in limits]


def new_speaker_phrase(score: Score) -> str:
    """What accuracy to expect for one more speaker, beside the mean's interval."""
    expected = f"{100 * score.low:.0f} to {100 * score.high:.0f}"
    return (
        f"Accuracy for one new speaker: {expected} % (95 % prediction interval; mean over speakers "
        f"{100 * score.value:.1f} %)."
    )


def _outcome_sentence(grades: list[Grade]) -> str:
    outcome: Outcome = verdict(grades)
    if outcome == "pass":
        return f"Meets every criterion: every {_INTERVAL} is above its threshold."
    if all(entry.score.low > entry.threshold for entry in grades):
        return f"Every {_INTERVAL} is above its threshold."
    decisive = [entry for entry in grades if entry.outcome == outcome and entry.score.low <= entry.threshold]
    named = _listed([criterion_name(entry.criterion) for entry in decisive])
    if outcome == "fail":
        return f"Does not meet the criteria: the {_INTERVAL} of {named} is below the threshold."
    if all(entry.reached for entry in grades):
        return f"Every score is above its threshold, but the {_INTERVAL} of {named} extends below."
    missed = _listed([criterion_name(entry.criterion) for entry in grades if not entry.reached])
    return f"Below the threshold: {missed}. The {_INTERVAL} extends above, so the verdict is undecided."


def power_sentence(grades: list[Grade], metrics: Metrics, n_speakers: int | None) -> str:
    """How many more speakers, or clips if none is known, a pass would take at these scores; empty if none.

    Args:
        grades: of every criterion.
        metrics: what was graded.
        n_speakers: how many are known; None if that was not recorded.
    """
    growth = growth_for_pass(grades)
    if growth is None:
        return ""
    unit, n = ("speaker", n_speakers) if n_speakers else ("clip", metrics.n_clips)
    what = "speakers or clips" if n_speakers is None else f"{unit}s ({n:,} now)"
    if growth > _MOST_GROWTH:
        return f"A pass at these scores would take more than {_MOST_GROWTH - 1} times as many {what}."
    if n_speakers is None:
        return f"A pass at these scores would take about {growth:.1f} times as many {what}."
    more = max(1, ceil(round(n * (growth - 1), 6)))
    step = 10 ** max(0, len(str(more)) - 2)
    more = ceil(more / step) * step
    return f"A pass at these scores would take about {more:,} more {unit}{'s' * (more > 1)} ({n:,} now)."


def _listed(words: list[str], most: int = 4) -> str:
    """Words as `a, b and c`; beyond `most` only how many more there are."""
    shown = [*words[:most], *([f"{len(words) - most} more"] if len(words) > most else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def row_details(row: Row) -> list[str]:
    """Settings, seeds, tuning and members of a configuration, and its scores under other protocols."""
    settings = [f"{name.partition('.')[2]}={value}" for name, value in row.settings.items()]
    return [*settings, *training_words(row), *_seeds(row), *_tuning(row), *_members(row), *_views(row)]


def pipeline_phrase(row: Row) -> str:
    """A pipeline with what was set by hand, on one line and without scores."""
    words = [f"{name}={value}" for name, value in row.settings.items()]
    words += [f"{len(row.seeds)} seeds"] if len(row.seeds) > 1 else []
    words += ["tuned"] if row.tuner else []
    return ", ".join([row.pipeline, *words, *training_words(row)])


def _seeds(row: Row) -> list[str]:
    """Several seeds with the standard deviation of their scores, or a single seed that is not the default."""
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
    objective = row.tuning.asked.objective if row.tuning else RANKED_BY
    aim = "" if objective == RANKED_BY else f" for {METRICS[objective].title}"
    lines = [f"tuned{aim}, {row.scores['trials']} trials", *([", ".join(words)] if words else [])]
    return [*lines, *([f"log loss {rise:.2f} worse"] if (rise := rise_of_log_loss(row)) else [])]


def rise_of_log_loss(row: Row) -> float:
    """By how much tuning worsened log loss, in nats; 0 unless it shows in two decimal places."""
    return max(0.0, round(row.scores.get("log_loss_change", 0.0), 2))


def tuning_lines(tuning: TuningRecord | None, row: Row | None) -> list[str]:
    """Where the untuned configuration was used, and what tuning cost by a `row` of that run alone."""
    lines = []
    if folds := tuning.untuned_folds if tuning else []:
        which = f"fold{'s' * (len(folds) > 1)} {_listed([str(number) for number in folds], 12)}"
        lines.append(f"Tuning found nothing better on {which}: the untuned configuration is used there.")
    if row and row.untuned and len(row.run_ids) == 1 and (rise := rise_of_log_loss(row)):
        title, before = METRICS[RANKED_BY].title, row.untuned.scores["log_loss"]
        lines.append(
            f"Tuning changed {title} by {100 * row.scores['gain']:+.1f} and worsened log loss by {rise:.2f} "
            f"from {before:.2f}: its probabilities are less reliable; --objective log_loss tunes them."
        )
    return lines


def _members(row: Row) -> list[str]:
    """Share and short id of each member, the largest share first, two per line."""
    members = sorted((row.members or {}).items(), key=lambda member: -member[1])
    words = [f"{100 * weight:.0f} % {short_id_of(run_id)}" for run_id, weight in members]
    lines = [", ".join(words[start : start + 2]) for start in range(0, len(words), 2)]
    how = {"by hand": ["chosen by hand: optimistic"], "inside training parts": ["chosen inside training"]}
    return [*lines, *how.get(row.members_chosen or "", [])]


CHOSEN = {
    "by hand": (
        "members chosen by hand, having seen this board: optimistic. bench ensemble --choose does without it."
    ),
    "inside training parts": "members chosen inside the training parts, without the scores of this board.",
}
"""What `EnsembleRecord.chosen` says of a score."""


def _views(row: Row) -> list[str]:
    """Score under each protocol of other strictness, and the gap between known and new speakers."""
    lines = []
    for view in row.views:
        gap = row.speaker_gap if view is row.other else None
        words = "" if gap is None else f", gap {100 * gap:+.1f}"
        lines.append(f"{view.board.protocol} {100 * view.scores[RANKED_BY]:.1f}{words}")
    return lines


def letter_lines(shown: Board) -> list[str]:
    """What the letters of rows mean, and which difference the folds are too few to confirm."""
    if not shown.n_compared:
        return []
    meaning = (
        "Letters: rows that share one have no significant difference, those that share none differ "
        f"significantly ({shown.n_compared} rows compared; paired tests on the same clips, Holm, 5 %)."
    )
    return [meaning, *([_unconfirmed(shown, shown.unconfirmed)] if shown.unconfirmed else [])]


def _unconfirmed(shown: Board, weak: Unconfirmed) -> str:
    ranks = " and ".join(f"#{rank}" for rank in weak.ranks)
    others = "" if weak.n_pairs == 1 else f", and so for {weak.n_pairs - 1} other pairs"
    return (
        f"{weak.n_folds} folds cannot confirm that {ranks} differ by {100 * weak.difference:.1f} points: "
        f"only from {100 * weak.shown_by_folds:.1f} points on{others}. "
        f"{_more_evidence(shown, weak.n_folds)} would help."
    )


def _more_evidence(shown: Board, n_folds: int) -> str:
    """What gives the test over folds more to work with."""
    kind = shown.protocol.rstrip("0123456789")
    if kind in {"stratified", "utterance"}:
        return f"More folds ({kind}{2 * n_folds}) or seeds (--repeats)"
    apart = shown.rows[0].board.speakers_apart and shown.protocol != "loso"
    return f"{'More folds (loso) or seeds' if apart else 'More seeds'} (--repeats)"


def chosen_lines(chosen: ChosenScore | None) -> list[str]:
    """The score of what was chosen, corrected for that, and a warning if chance had much to say."""
    if chosen is None:
        return []
    measured = f"{METRICS[RANKED_BY].title} {100 * chosen.measured.value:.1f}"
    corrected = f"corrected for having been chosen: {chosen.corrected.phrase}"
    lines = [f"Best of {chosen.n_candidates}: {measured}, {corrected}."]
    if chosen.is_doubtful:
        lines.append(
            f"{chosen.n_clips:,} clips tell little between {chosen.n_candidates} candidates (correction "
            f"{100 * chosen.bias:.1f} points): confirm this one on clips that no choice has seen."
        )
    return lines


def winner_lines(record: "SearchRecord") -> list[str]:
    """The score of a search's winner, corrected for having been chosen, and that on held-out clips."""
    lines = chosen_lines(record.winner.chosen if record.winner else None)
    if (final := record.final) is None:
        return lines
    del lines[1:]  # the warning's advice was followed
    of_speakers = f" of {len(final.speakers)} speakers" if final.speakers else ""
    scores = [
        f"{METRICS[name].title} {score.phrase}"
        for name, score in final.metrics.scores.items()
        if isinstance(score, Score)
    ]
    worst = final.metrics.worst
    scores.append(f"worst class {worst.label} {worst.recall.phrase}")
    where = f"On the {len(final.clips):,} held-out clips{of_speakers}, which no choice has seen"
    return [*lines, f"{where}: {', '.join(scores)}."]


def shared_lines(shown: Board) -> list[str]:
    """What train and test share under the board's protocol, if anything."""
    key = shown.rows[0].board
    shared = {"speakers": key.speakers_shared, "statements": key.statements_shared}
    words = " and ".join(f"{count} {what}" for what, count in shared.items() if count)
    # Rows of older records do not tell.
    takes = next((share for row in shown.rows if (share := row.board.takes_shared) is not None), None)
    lines = [f"Train and test share {words}; expect lower scores on new ones."] if words else []
    if takes:
        # Brings NumPy, which other boards do without.
        from marsbench.protocols.leakage import takes_phrase

        lines.append(f"{takes_phrase(takes).capitalize()}.")
    return [*lines, *limit_lines(dict.fromkeys(limit for row in shown.rows for limit in row.limits))]
