"""Runs as tables for a terminal: one run, its tuning, a search, two runs compared, unfinished ones."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from marsbench.evaluation.metrics import METRICS, RANKED_BY, objective_title
from marsbench.evaluation.scores import GRADED, Grade, Metrics, Score, least_sure
from marsbench.evaluation.significance import ALPHA, Difference
from marsbench.report import phrases
from marsbench.report.boards import outcome_text
from marsbench.report.columns import formatted, metric_text, threshold_text
from marsbench.report.terminal.console import first_lines, frameless, n_more, table
from marsbench.results.row import Row
from marsbench.results.schema import EnsembleRecord, Run, training_words

if TYPE_CHECKING:  # what searches, runs and draws takes up to a second to import
    from marsbench.automl.selection import HoldoutScore, SearchRecord
    from marsbench.automl.status import SearchState
    from marsbench.evaluation.by_group import ValueScores
    from marsbench.results.comparison import Comparison
    from marsbench.runner.status import RunState

_SHORT = 7
"""Letters of a class name in a confusion matrix, so that eight classes fit 80 columns."""
_MOST_BAD = 20
"""Bad files that are named."""


def corpus_notes(run: Run) -> RenderableType:
    """The corpus, and notes on it that limit what the scores say."""
    corpus = run.corpus
    size = f"{corpus.n_clips} clips, {len(corpus.labels)} classes"
    lines = [Text(f"Corpus {corpus.name}: {size}; licence: {corpus.licence}.")]
    if corpus.synthetic:
        lines.append(Text("The audio is synthetic; its scores are not meaningful.", "yellow"))
    if corpus.bad_audio:
        bad = [f"{clip}: {reason}" for clip, reason in corpus.bad_audio.items()]
        lines.append(Text(f"{len(bad):,} bad audio file(s) left out:", "yellow"))
        lines += first_lines(bad, _MOST_BAD, "bench data check", "yellow")
    lines += [
        Text(f"Corpus {corpus.name}: {note}.", "yellow" if note.startswith("Warning") else "dim")
        for note in corpus.notes
    ]
    return Group(*lines)


def protocol_notes(run: Run) -> list[Text]:
    """Notes on the protocol that limit what the scores say."""
    return [Text(f"Protocol {run.protocol.name}: {note}.", "dim") for note in run.protocol.notes]


def run_summary(run: Run, row: Row | None = None) -> RenderableType:
    """Scores against the criteria and recall by class, or the reasons why the run failed.

    Scores of the same pipeline under a stricter protocol are told first; `row` has them.
    """
    stricter = row.stricter if row else None
    parts: list[RenderableType] = [Text(head(run), "bold")]
    parts += [Text(phrases.view_phrase(stricter), "yellow")] if stricter else []
    parts += [Text(line, "yellow") for line in phrases.tuning_lines(run.tuning, row)]
    if run.ensemble and run.ensemble.weights:
        parts += [_members(run.ensemble), Text(f"Ensemble: {phrases.CHOSEN[run.ensemble.chosen]}", "yellow")]
    parts += [Text(f"Warning: {warning}", "yellow") for warning in run.warnings]
    if run.metrics is None:
        parts += [Text(f"FAILED: {line}", "red") for line in _reasons(run)]
    else:
        weakest = entry.criterion if (entry := least_sure(run.grades)) else None
        sure = phrases.weakest_phrase(run.pass_confidence, weakest)
        verdict = Text.assemble("Verdict: ", outcome_text(run.verdict), sure and f" ({sure})")
        parts += [_grades(run.grades), _recalls(run.metrics)]
        parts += [Text(phrases.new_speaker_phrase(run.new_speaker))] if run.new_speaker else []
        parts += [verdict, *(Text(line, "yellow") for line in phrases.limit_lines(run.limits))]
        power = phrases.power_sentence(run.grades, run.metrics, run.n_speakers)
        parts += [Text(power)] if power and not run.limits else []
    return Group(*parts)


def head(run: Run) -> str:
    """The line above a run's scores."""
    settings = "".join(f", {name}={value}" for name, value in run.settings.items())
    tuned = f", tuned ({run.tuning.n_trials} trials)" if run.tuning else ""
    tuned = ", ".join([tuned, *training_words(run)])
    return f"\n{run.features.name} + {run.model.name}{settings}{tuned}, {run.protocol.name}, seed {run.seed}"


def _members(ensemble: EnsembleRecord) -> Table:
    """Share of each member: mean, lowest and highest over the folds."""
    rows = (
        (percent(fmean(shares)), f"{100 * min(shares):.0f} to {100 * max(shares):.0f}", member.run_id)
        for member, shares in zip(ensemble.members, zip(*ensemble.shares, strict=True), strict=True)
    )
    return frameless("share, %", "over folds", "member", rows=rows)


def _reasons(run: Run) -> Iterator[str]:
    """Each reason once, with its folds and the first log."""
    for failures in phrases.by_reason(run.failures):
        folds, logs = phrases.fold_numbers(failures), [failure.log for failure in failures if failure.log]
        words = [*([f"fold {folds}"] if folds else []), *([f"see {logs[0]}"] if logs else [])]
        yield failures[0].message + (f" ({'; '.join(words)})" if words else "")


def _grades(grades: Sequence[Grade]) -> Table:
    """The criteria; of the classes the one with the lowest recall, and the least sure one if that decides."""
    recalls = [entry for entry in grades if entry.criterion.startswith("class_recall ")]
    worst = min(recalls, key=lambda entry: entry.score.value)
    doubtful = least_sure(recalls) or worst
    shown = {phrases.criterion_name(entry.criterion): entry for entry in grades if entry not in recalls}
    shown[f"worst class: {worst.criterion.partition(' ')[2]}"] = worst
    if doubtful.outcome != worst.outcome:  # few clips, or speakers far apart
        shown[f"least sure class: {doubtful.criterion.partition(' ')[2]}"] = doubtful
    rows = (
        (
            name,
            percent(entry.score.value, entry.threshold),
            interval(entry.score, entry.threshold),
            threshold_text(entry.threshold),
            "" if entry.confidence is None else f"{100 * entry.confidence:.0f} %",
            outcome_text(entry.outcome),
        )
        for name, entry in shown.items()
    )
    return frameless("criterion", "score", "95 % interval", "must exceed", "P", "outcome", rows=rows)


def _recalls(metrics: Metrics) -> Text:
    cells = "  ".join(f"{scores.label} {100 * scores.recall.value:.0f}" for scores in metrics.classes)
    others = ", ".join(
        f"{metric.title} {metric_text(metrics, metric)}{' %' * (metric.unit == 'share')}"
        for name, metric in METRICS.items()
        if name in metrics.scores and name not in GRADED
    )
    return Text(f"Recall by class (%): {cells}\nFurther metrics: {others}")


def percent(share: float | None, threshold: float | None = None) -> str:
    """A share in %, without the sign, beside the threshold that it is held against, if any."""
    return "-" if share is None else formatted(share, "share", threshold=threshold)


def interval(score: Score, threshold: float | None = None) -> str:
    """The ends of an interval in %."""
    return f"{percent(score.low, threshold)} to {percent(score.high, threshold)}"


def classes(metrics: Metrics) -> Table:
    """Scores by class; the accuracy of a class is its recall."""
    rows = []
    for entry in metrics.classes:
        recall = percent(entry.recall.value), interval(entry.recall)
        speakers = "-" if entry.n_speakers is None else entry.n_speakers
        rows.append(
            (entry.label, entry.n_clips, speakers, *recall, percent(entry.precision), percent(entry.f1))
        )
    numbers = ("clips", "speakers", "recall (accuracy)", "95 % interval", "precision", "F1")
    return table("class", numbers=numbers, rows=rows, title="\nBy class, %")


def values(title: str, attribute: str, found: "Iterable[ValueScores]") -> Table:
    """Scores by value of an attribute of what the title names."""
    rows = []
    for entry in found:
        cells = [cell for score in entry.scores.values() for cell in (percent(score.value), interval(score))]
        rows.append((entry.value or "unknown", f"{entry.n_clips:,}", *cells))
    numbers = ("clips", "accuracy", "95 % interval", "UAR", "95 % interval")
    return table(attribute, numbers=numbers, rows=rows, title=f"{title}: by {attribute}, %")


def confusion(metrics: Metrics, labels: Sequence[str] = ()) -> Table:
    """Counts, with true classes as rows and predicted classes as columns; of many classes the largest errors.

    `labels` are those of the matrix, where not all of them were tested; columns without a count are left out.
    """
    if pairs := metrics.most_confused(labels):
        errors = [(one.label, one.predicted, f"{one.n_clips:,}", percent(one.share)) for one in pairs]
        numbers = ("clips", "of the class, %")
        return table(
            "true", "predicted", numbers=numbers, rows=errors, title="\nClasses that are confused most"
        )
    tested = [scores.label for scores in metrics.classes]
    labels = labels or tested
    told = [place for place, counts in enumerate(zip(*metrics.confusion, strict=True)) if any(counts)]
    shown = [place for place, label in enumerate(labels) if label in tested or place in told]
    rows = []
    for index, (label, counts) in enumerate(zip(labels, metrics.confusion, strict=True)):
        if label in tested:
            cells = [_cell(counts[place], sum(counts), right=place == index) for place in shown]
            rows.append((label, *cells))
    title = "\nConfusion matrix (rows true, columns predicted)"
    return table("true", numbers=[labels[place][:_SHORT] for place in shown], rows=rows, title=title)


def _cell(count: int, total: int, *, right: bool) -> Text:
    """Correct predictions green; errors on a tenth of the class or more red."""
    if right:
        return Text(str(count), "green")
    return Text(str(count), "red" if count >= total / 10 else "dim") if count else Text("·", "dim")


def origin(run: Run) -> RenderableType:
    """Configuration, versions and hashes of a run."""
    # Of the first fold; an ensemble's are its weights, which are shown above.
    tuned = dict(run.hyperparameters[0]) if run.hyperparameters and not run.ensemble else {}
    shown = {
        "run": run.run_id,
        "finished": run.finished,
        "corpus": f"{run.corpus.name}, fingerprint {run.corpus.fingerprint[:16]}",
        "dataset": "\n".join(f"{one.name}: {_parameters(one.parameters)}" for one in run.corpus.datasets),
        "protocol": f"{run.protocol.name}, hash {run.protocol.hash[:16]}",
        "threads": run.threads,
        "features": _parameters(run.features.parameters),
        "model": _parameters(run.model.parameters | tuned),
        "made with": ", ".join(f"{name} {value}" for name, value in run.environment.items()),
    }
    tracebacks = [Text(failure.traceback, "dim") for failure in run.failures[:1]]
    return Group(frameless(rows=shown.items(), title="\nOrigin"), *tracebacks)


def _parameters(parameters: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items()) or "no parameters"


def search_summary(record: "SearchRecord") -> RenderableType:
    """The shortlisted pipelines with their hold-out scores and runs, and why the others were dropped."""
    looked = record.looked or []
    rows = [
        (one.name, percent(one.score), f"{one.seconds:.1f} s", _then(one, record))
        for one in record.held_out or []
    ]
    objective = objective_title(str(record.asked.get("objective", RANKED_BY)))
    title = f"\nSearch: {len(looked)} pipelines, by {objective} on hold-outs"
    made = table("pipeline", "hold-out, %", numbers=["per fold"], folded=["run"], rows=rows, title=title)
    reasons = Counter(one.reason for one in looked if one.reason)
    dropped = (Text(f"{count} dropped: {reason}", "dim") for reason, count in reasons.most_common())
    refused = (
        Text(f"{run_id} cannot be exported: {reason}") for run_id, reason in record.not_exported.items()
    )
    return Group(made, *dropped, *refused)


def _then(one: "HoldoutScore", record: "SearchRecord") -> str:
    seconds = record.trials.get(one.name)
    if one.name not in (record.finalists or ()):
        return "none"
    if seconds is None:
        return "untuned"
    return f"tuned for {seconds:.0f} s" if seconds else "untuned, no time for trials"


def comparison_table(found: "Comparison", top: int = 10) -> RenderableType:
    """Scores of two runs, their difference with its p values, McNemar's table, and `top` clips (0: all)."""
    mcnemar = [(name, *counts) for name, counts in zip(("A correct", "A wrong"), found.table, strict=True)]
    return Group(
        _compared_scores(found.first, found.second),
        _difference(found.difference),
        Text(f"\nAccuracy: McNemar's exact p = {_p(found.p_mcnemar)}", "bold"),
        table("", numbers=("B correct", "B wrong"), rows=mcnemar),
        *_disagreements(found, top),
    )


def comparison_values(found: "Comparison") -> dict[str, Any]:
    """A comparison as JSON has it."""
    difference = found.difference
    return {
        "first": found.first.run_id,
        "second": found.second.run_id,
        f"{RANKED_BY}_difference": difference.score.model_dump(),
        "p_clips": difference.p_clips,
        "p_folds": difference.p_folds,
        "shown_by_folds": difference.shown_by_folds,
        "is_real": difference.is_real(),
        "mcnemar": {"table": found.table, "p": found.p_mcnemar},
        "disagreements": found.one_is_right,
    }


def _compared_scores(*runs: Run) -> Table:
    rows = []
    for mark, run in zip("AB", runs, strict=True):
        metrics = run.metrics
        assert metrics is not None, "compare() refuses incomplete runs"  # noqa: S101 - for the type checker
        name = f"{run.features.name} + {run.model.name}{', tuned' if run.tuning else ''}, seed {run.seed}"
        name = ", ".join([name, *training_words(run)])
        scores = (metric_text(metrics, metric) for metric in METRICS.values())
        rows.append((mark, f"{name}\n{run.run_id}", *scores))
    numbers = [metric.header for metric in METRICS.values()]
    title = f"{runs[0].corpus.name}, {runs[0].protocol.name}"
    return table("", "run", numbers=numbers, rows=rows, title=title)


def _difference(difference: Difference) -> Text:
    score = difference.score
    folds = "not defined for one fold"
    if difference.p_folds is not None and difference.shown_by_folds is not None:
        shown = f"{100 * difference.shown_by_folds:.1f}"
        least = f"(below {ALPHA:g} for a mean difference of more than {shown} points)"
        folds = f"p = {_p(difference.p_folds)}\n    {least}"
    answer = (
        "Significant difference."
        if difference.is_real()
        else "No significant difference: other clips or another training run could reverse it."
    )
    return Text(
        f"\nDifference in {METRICS[RANKED_BY].title}, A minus B: {100 * score.value:+.1f} points, "
        f"95 % interval {100 * score.low:+.1f} to {100 * score.high:+.1f}\n"
        f"  clips and speakers (paired bootstrap)           p = {_p(difference.p_clips)}\n"
        f"  training (corrected resampled t-test, folds)    {folds}\n"
        f"{answer} (Both p must be below {ALPHA:g}; a leaderboard also corrects for its number of rows.)"
    )


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"


def _disagreements(found: "Comparison", top: int) -> list[RenderableType]:
    clips = found.one_is_right
    if not clips:
        return [Text("\nBoth runs are correct on the same clips.")]
    rows = []
    for row in clips[: top or None]:
        answers = (f"{row[run]} {100 * row[f'{run}_probability']:.0f} %" for run in ("first", "second"))
        rows.append((row["clip"], row["true"], *answers))
    title = "\nClips that only one run classifies correctly"
    return [table("clip", "true", "A", "B", rows=rows, title=title), *n_more(len(clips) - len(rows))]


def state_table(states: "Sequence[RunState]", *, finished_too: bool) -> RenderableType:
    """One row for each unfinished run, or for all runs, and lines on all of them together."""
    unfinished = [state for state in states if not state.is_finished]
    shown = states if finished_too else unfinished
    numbers = ("done", "running", "failed", "to do", "left")
    made = table("features + model", "corpus, protocol", numbers=numbers, rows=map(_state_cells, shown))
    lines = [f"{len(states) - len(unfinished)} run(s) finished, {len(unfinished)} not.", *_hints(unfinished)]
    return Group(*([made] if shown else []), *map(Text, lines))


def search_table(states: "Sequence[SearchState]") -> Table:
    """One row for each search."""
    rows = (
        (
            ", ".join(one.path.parts[-4:-2]),
            one.state,
            f"{duration(one.seconds)} of {duration(float(one.record.asked['time_budget']))}",
            one.done,
        )
        for one in states
    )
    return table("search on", "state", "time", folded=["done"], rows=rows, title="\nSearches")


def _state_cells(state: "RunState") -> tuple[object, ...]:
    plan, status_counts = state.plan, state.status_counts
    corpus, protocol, run_id = state.folder.path.parts[-3:]
    settings = [f"{name.partition('.')[2]}={value}" for name, value in plan.settings.items()]
    settings += [f"normalise={by}"] if (by := plan.experiment.get("normalise")) else []
    settings += [f"versions={','.join(kinds)}"] if (kinds := plan.experiment.get("versions")) else []
    words = [run_id.rpartition("-")[2][:6], *settings, *([f"seed {plan.seed}"] if plan.seed else [])]
    if plan.tuning is not None:
        asked = f" of {state.n_trials_asked}" if state.n_trials_asked else ""
        words.append(f"tuned, {len(state.trials)}{asked} trials")
    return (
        Text.assemble(f"{plan.features} + {plan.model} ", (" ".join(words), "dim")),
        f"{corpus}, {protocol}",
        f"{status_counts.done} of {plan.n_folds}",
        status_counts.running or "",
        Text(str(status_counts.failed or ""), "red"),
        state.n_to_do or "",
        "?" if state.seconds_left is None else duration(state.seconds_left),
    )


def _hints(unfinished: "Sequence[RunState]") -> Iterator[str]:
    known = [state.seconds_left for state in unfinished if state.seconds_left is not None]
    if any(known):
        some = ", for runs whose folds were timed before" if len(known) < len(unfinished) else ""
        yield f"About {duration(sum(known))} left{some}."
    if any(state.has_failed for state in unfinished):
        yield "To retry what failed: bench retry --failed"
    begun = [state for state in unfinished if state.folder.is_planned and state.n_to_do]
    idle = [state for state in begun if not state.is_live]
    if idle:
        which = "them" if len(idle) == len(unfinished) else f"{len(idle)} of them"
        yield f"No process is running {which}. Rerun the command that started them to resume."


def duration(seconds: float) -> str:
    """A time in at most two units, such as 1 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
