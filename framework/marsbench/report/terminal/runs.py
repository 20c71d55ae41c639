"""Runs as tables for a terminal: one run, two compared, and the status of unfinished ones."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.evaluation.scores import GRADED, Grade, Metrics, Score
from marsbench.evaluation.significance import ALPHA, Difference
from marsbench.report.columns import formatted, metric_text
from marsbench.report.error_analysis import ValueScores
from marsbench.report.phrases import criterion_name, view_phrase
from marsbench.report.terminal.board import outcome_text
from marsbench.report.terminal.console import table as empty_table
from marsbench.results.comparison import Comparison
from marsbench.results.row import Row
from marsbench.results.schema import EnsembleRecord, Run
from marsbench.runner.status import RunState

_SHORT = 7
"""Letters of a class name in a confusion matrix, so that eight classes fit 80 columns."""


def corpus_notes(run: Run) -> RenderableType:
    """The corpus, and notes on it and on the protocol that limit what the scores say."""
    corpus = run.corpus
    size = f"{corpus.n_clips} clips, {len(corpus.labels)} classes"
    about = f"Corpus {corpus.name}: {size}; licence: {corpus.licence}."
    lines = [Text(about)]
    if corpus.synthetic:
        lines.append(Text("The audio is synthetic; its scores are not meaningful.", "yellow"))
    if corpus.bad_audio:
        lines.append(Text(f"{len(corpus.bad_audio)} bad audio file(s) left out:", "yellow"))
        lines += [Text(f"  {clip}: {reason}", "yellow") for clip, reason in corpus.bad_audio.items()]
    lines += [Text(f"Corpus {corpus.name}: {note}.", "dim") for note in corpus.notes]
    lines += [Text(f"Protocol {run.protocol.name}: {note}.", "dim") for note in run.protocol.notes]
    return Group(*lines)


def run_summary(run: Run, stricter: Row | None = None) -> RenderableType:
    """Scores against the criteria and recall by class, or the reasons why the run failed.

    Scores of the same pipeline under a `stricter` protocol are told first.
    """
    settings = "".join(f", {name}={value}" for name, value in run.settings.items())
    tuned = f", tuned ({run.tuning.n_trials} trials)" if run.tuning else ""
    head = f"\n{run.features.name} + {run.model.name}{settings}{tuned}, {run.protocol.name}, seed {run.seed}"
    parts: list[RenderableType] = [Text(head, "bold")]
    parts += [Text(view_phrase(stricter), "yellow")] if stricter else []
    parts += [members(run.ensemble)] if run.ensemble and run.ensemble.weights else []
    parts += [Text(f"Warning: {warning}", "yellow") for warning in run.warnings]
    if run.metrics is None:
        parts += [Text(f"FAILED: {line}", "red") for line in _reasons(run)]
    else:
        parts += [
            _grades(run.grades),
            _recalls(run.metrics),
            Text.assemble("Verdict: ", outcome_text(run.verdict), _odds(run.pass_probability)),
        ]
    return Group(*parts)


def members(ensemble: EnsembleRecord) -> Table:
    """Share of each member: mean, lowest and highest over the folds."""
    table = Table("share, %", "over folds", "member", box=None, header_style="dim")
    for member, shares in zip(ensemble.members, zip(*ensemble.shares, strict=True), strict=True):
        over_folds = f"{100 * min(shares):.0f} to {100 * max(shares):.0f}"
        table.add_row(percent(fmean(shares)), over_folds, escape(member.run_id))
    return table


def _reasons(run: Run) -> list[str]:
    """Each reason once, with its folds and the first log."""
    groups: dict[str, list[Failure]] = {}
    for failure in run.failures:
        groups.setdefault(failure.message, []).append(failure)
    return [f"{message}{_where(group)}" for message, group in groups.items()]


def _where(failures: Sequence[Failure]) -> str:
    folds = ", ".join(str(failure.fold + 1) for failure in failures if failure.fold is not None)
    logs = [failure.log for failure in failures if failure.log]
    words = [*([f"fold {folds}"] if folds else []), *([f"see {logs[0]}"] if logs else [])]
    return f" ({'; '.join(words)})" if words else ""


def _grades(grades: Sequence[Grade]) -> Table:
    """The criteria; of the classes only the one with the lowest recall."""
    table = Table(
        "criterion", "score", "95 % interval", "must exceed", "P", "outcome", box=None, header_style="dim"
    )
    recalls = [entry for entry in grades if entry.criterion.startswith("class_recall ")]
    worst = min(recalls, key=lambda entry: entry.score.value)
    for entry in [*(entry for entry in grades if entry not in recalls), worst]:
        name = f"worst class: {entry.criterion.partition(' ')[2]}" if entry is worst else None
        table.add_row(
            escape(name or criterion_name(entry.criterion)),
            percent(entry.score.value),
            _interval(entry.score),
            percent(entry.threshold),
            "" if entry.probability is None else f"{100 * entry.probability:.0f} %",
            outcome_text(entry.outcome),
        )
    return table


def _odds(probability: float | None) -> str:
    return "" if probability is None else f" (met by {percent(probability)} % of resampled corpora)"


def _recalls(metrics: Metrics) -> Text:
    cells = "  ".join(f"{scores.label} {100 * scores.recall.value:.0f}" for scores in metrics.classes)
    others = ", ".join(
        f"{metric.title} {metric_text(metrics, metric)}{' %' * (metric.unit == 'share')}"
        for name, metric in METRICS.items()
        if name in metrics.scores and name not in GRADED
    )
    return Text(f"Recall by class (%): {cells}\nFurther metrics: {others}")


def percent(value: float) -> str:
    """A share in %, without the sign."""
    return formatted(value, "share")


def _interval(score: Score) -> str:
    return f"{percent(score.low)} to {percent(score.high)}"


def classes(metrics: Metrics) -> Table:
    """Scores by class; the accuracy of a class is its recall."""
    table = empty_table("class", title="\nBy class, %")
    for name in ("clips", "recall (accuracy)", "95 % interval", "precision", "F1"):
        table.add_column(name, justify="right")
    for scores in metrics.classes:
        recall = scores.recall
        rates = percent(recall.value), _interval(recall), percent(scores.precision), percent(scores.f1)
        table.add_row(escape(scores.label), str(scores.n_clips), *rates)
    return table


def values(run: Run, attribute: str, found: Sequence[ValueScores]) -> Table:
    """Scores by value of an attribute."""
    table = empty_table(escape(attribute), title=f"{escape(run.title)}: by {escape(attribute)}, %")
    for name in ("clips", "accuracy", "95 % interval", "UAR", "95 % interval"):
        table.add_column(name, justify="right")
    for entry in found:
        cells = [cell for score in entry.scores.values() for cell in (percent(score.value), _interval(score))]
        table.add_row(escape(entry.value or "unknown"), f"{entry.n_clips:,}", *cells)
    return table


def confusion(metrics: Metrics) -> Table:
    """Counts, with true classes as rows and predicted classes as columns."""
    labels = [scores.label for scores in metrics.classes]
    table = empty_table("true", title="\nConfusion matrix (rows true, columns predicted)")
    for label in labels:
        table.add_column(escape(label[:_SHORT]), justify="right")
    for index, (label, counts) in enumerate(zip(labels, metrics.confusion, strict=True)):
        total = max(sum(counts), 1)
        cells = [_cell(count, total, right=position == index) for position, count in enumerate(counts)]
        table.add_row(escape(label), *cells)
    return table


def _cell(count: int, total: int, *, right: bool) -> Text:
    """Correct predictions green; errors on a tenth of the class or more red."""
    if right:
        return Text(str(count), "green")
    return Text(str(count) if count else "·", "red" if count >= total / 10 else "dim")


def origin(run: Run) -> RenderableType:
    """Configuration, versions and hashes of a run."""
    table = Table(box=None, show_header=False, title="\nOrigin", title_justify="left")
    table.add_row("run", run.run_id)
    table.add_row("finished", run.finished)
    table.add_row("corpus", f"{run.corpus.name}, fingerprint {run.corpus.fingerprint[:16]}")
    table.add_row("dataset", f"{run.corpus.dataset.name}: {_parameters(run.corpus.dataset.parameters)}")
    table.add_row("protocol", f"{run.protocol.name}, hash {run.protocol.hash[:16]}")
    table.add_row("threads", str(run.threads))
    table.add_row("features", _parameters(run.features.parameters))
    table.add_row("model", _parameters(run.model.parameters | dict(_hyperparameters(run))))
    table.add_row("made with", ", ".join(f"{name} {value}" for name, value in run.environment.items()))
    return Group(table, *(Text(failure.traceback, "dim") for failure in run.failures[:1]))


def _hyperparameters(run: Run) -> dict[str, object]:
    """Hyperparameters of the first fold; empty for an ensemble, whose weights are shown above."""
    return dict(run.hyperparameters[0]) if run.hyperparameters and not run.ensemble else {}


def _parameters(parameters: dict[str, object]) -> str:
    return escape(", ".join(f"{name}={value}" for name, value in parameters.items())) or "no parameters"


def comparison_table(found: Comparison, top: int = 10) -> RenderableType:
    """Scores of two runs, their difference with its p values, McNemar's table, and `top` clips (0: all)."""
    return Group(
        _compared_scores(found.first, found.second),
        _difference(found.difference),
        _mcnemar(found),
        *_disagreements(found, top),
    )


def comparison_values(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON has it."""
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


def _compared_scores(*runs: Run) -> Table:
    table = empty_table("", "run", title=f"{runs[0].corpus.name}, {runs[0].protocol.name}")
    for metric in METRICS.values():
        table.add_column(metric.header, justify="right")
    for mark, run in zip("AB", runs, strict=True):
        metrics = run.metrics
        assert metrics is not None, "compare() refuses incomplete runs"  # noqa: S101 - for the type checker
        name = f"{run.features.name} + {run.model.name}{', tuned' if run.tuning else ''}, seed {run.seed}"
        scores = (metric_text(metrics, metric) for metric in METRICS.values())
        table.add_row(mark, escape(f"{name}\n{run.run_id}"), *scores)
    return table


def _difference(difference: Difference) -> Text:
    score = difference.score
    folds = "not defined for one fold" if difference.p_folds is None else f"p = {_p(difference.p_folds)}"
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


def _mcnemar(found: Comparison) -> RenderableType:
    title = f"\nAccuracy: McNemar's exact p = {_p(found.p_mcnemar)}"
    table = empty_table("")
    table.add_column("B correct", justify="right")
    table.add_column("B wrong", justify="right")
    for name, counts in zip(("A correct", "A wrong"), found.table, strict=True):
        table.add_row(name, *map(str, counts))
    return Group(Text(title, "bold"), table)


def _disagreements(found: Comparison, top: int) -> list[RenderableType]:
    clips = found.disagreements
    if clips.empty:
        return [Text("\nBoth runs are correct on the same clips.")]
    shown = clips.head(top or len(clips))
    table = empty_table(
        "clip",
        "true",
        "A",
        "B",
        title="\nClips that only one run classifies correctly",
    )
    for row in shown.itertuples():
        table.add_row(
            escape(str(row.clip)),
            escape(str(row.true)),
            escape(f"{row.first} {100 * float(str(row.first_probability)):.0f} %"),
            escape(f"{row.second} {100 * float(str(row.second_probability)):.0f} %"),
        )
    more = len(clips) - len(shown)
    return [table, *([Text(f"… and {more:,} more; --top 0 shows all.", "dim")] if more else [])]


def state_table(states: Sequence[RunState], *, finished_too: bool) -> RenderableType:
    """One row for each unfinished run, or for all runs, and lines on all of them together."""
    unfinished = [state for state in states if not state.is_finished]
    shown = states if finished_too else unfinished
    parts: list[RenderableType] = []
    if shown:
        table = empty_table("features + model", "corpus, protocol")
        for name in ("done", "running", "failed", "to do", "left"):
            table.add_column(name, justify="right")
        for state in shown:
            table.add_row(*_state_cells(state))
        parts.append(table)
    head = f"{len(states) - len(unfinished)} run(s) finished, {len(unfinished)} not."
    return Group(*parts, Text(head), *map(Text, _hints(unfinished)))


def _state_cells(state: RunState) -> list[Text]:
    plan, status_counts = state.plan, state.status_counts
    corpus, protocol, run_id = state.folder.path.parts[-3:]
    settings = [f"{name.partition('.')[2]}={value}" for name, value in plan.settings.items()]
    words = [run_id.rpartition("-")[2][:6], *settings, *([f"seed {plan.seed}"] if plan.seed else [])]
    if plan.tuning is not None:
        asked = f" of {state.n_trials_asked}" if state.n_trials_asked else ""
        words.append(f"tuned, {len(state.trials)}{asked} trials")
    return [
        Text.assemble(f"{plan.features} + {plan.model} ", (" ".join(words), "dim")),
        Text(f"{corpus}, {protocol}"),
        Text(f"{status_counts.done} of {plan.n_folds}"),
        Text(str(status_counts.running or "")),
        Text(str(status_counts.failed or ""), "red"),
        Text(str(state.n_to_do or "")),
        Text("?" if state.seconds_left is None else duration(state.seconds_left)),
    ]


def _hints(unfinished: Sequence[RunState]) -> Iterator[str]:
    known = [state.seconds_left for state in unfinished if state.seconds_left is not None]
    if any(known):
        some = ", for runs whose folds were timed before" if len(known) < len(unfinished) else ""
        yield f"About {duration(sum(known))} left{some}."
    if any(state.has_failed for state in unfinished):
        yield "To retry what failed: bench retry --failed"
    begun = [state for state in unfinished if state.folder.is_planned and state.n_to_do]
    if begun and not any(state.is_live for state in begun):
        yield "No process is running them. Rerun the command that started them to resume."


def duration(seconds: float) -> str:
    """A time in at most two units, such as 1 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
