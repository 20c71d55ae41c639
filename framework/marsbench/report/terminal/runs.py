"""Runs as tables for a terminal."""

from collections.abc import Sequence
from statistics import fmean

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.evaluation.criteria import Grade
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.scores import GRADED, Metrics, Score
from marsbench.report.columns import formatted, metric_text
from marsbench.report.terminal.board import outcome_text
from marsbench.report.terminal.console import table as empty_table
from marsbench.results.schema import EnsembleRecord, Run

_SHORT = 7
"""Letters of a class that eight columns of a confusion matrix have room for."""


def corpus_notes(run: Run) -> RenderableType:
    """What a reader must know of the corpus and the protocol before any score."""
    corpus = run.corpus
    about = f"Corpus {corpus.name}: {corpus.n_clips} clips, {len(corpus.labels)} classes; {corpus.licence}."
    lines = [Text(about)]
    if corpus.synthetic:
        lines.append(Text("The audio is synthetic: scores show that things work, not how well.", "yellow"))
    if corpus.bad_audio:
        lines.append(Text(f"{len(corpus.bad_audio)} bad audio file(s) left out:", "yellow"))
        lines += [Text(f"  {clip}: {reason}", "yellow") for clip, reason in corpus.bad_audio.items()]
    lines += [Text(f"Protocol {run.protocol.name}: {note}.", "dim") for note in run.protocol.notes]
    return Group(*lines)


def run_summary(run: Run) -> RenderableType:
    """Verdict by criterion and recall by class, or why there are none."""
    settings = "".join(f", {name}={value}" for name, value in run.settings.items())
    tuned = f", tuned ({run.tuning.n_trials} trials)" if run.tuning else ""
    head = f"\n{run.features.name} + {run.model.name}{settings}{tuned}, {run.protocol.name}, seed {run.seed}"
    parts: list[RenderableType] = [Text(head, "bold")]
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
    """Share of each member, mean over folds, and between what it lies."""
    table = Table("share, %", "over folds", "member", box=None, header_style="dim")
    for member, shares in zip(ensemble.members, zip(*ensemble.shares, strict=True), strict=True):
        over_folds = f"{100 * min(shares):.0f} to {100 * max(shares):.0f}"
        table.add_row(percent(fmean(shares)), over_folds, escape(member.run_id))
    return table


def _reasons(run: Run) -> list[str]:
    """Each failure once, with the folds that it befell and the log of the first of them that printed."""
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
    """Accuracy, macro F1, and of the classes the one with the lowest recall."""
    table = Table(
        "criterion", "score", "95 % interval", "must exceed", "P", "outcome", box=None, header_style="dim"
    )
    recalls = [entry for entry in grades if entry.criterion.startswith("class_recall ")]
    worst = min(recalls, key=lambda entry: entry.score.value)
    for entry in [*(entry for entry in grades if entry not in recalls), worst]:
        name = entry.criterion.replace("class_recall", "worst class:").replace("macro_f1", "macro F1")
        table.add_row(
            escape(name),
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
    """Scores by class; a class's accuracy is its recall."""
    table = empty_table("class", title="\nBy class, %")
    for name in ("clips", "recall (accuracy)", "95 % interval", "precision", "F1"):
        table.add_column(name, justify="right")
    for scores in metrics.classes:
        recall = scores.recall
        rates = percent(recall.value), _interval(recall), percent(scores.precision), percent(scores.f1)
        table.add_row(escape(scores.label), str(scores.n_clips), *rates)
    return table


def confusion(metrics: Metrics) -> Table:
    """Counts, true classes down, predicted ones across."""
    labels = [scores.label for scores in metrics.classes]
    table = empty_table("true", title="\nConfusion: predicted across")
    for label in labels:
        table.add_column(escape(label[:_SHORT]), justify="right")
    for index, (label, counts) in enumerate(zip(labels, metrics.confusion, strict=True)):
        total = max(sum(counts), 1)
        cells = [_cell(count, total, right=position == index) for position, count in enumerate(counts)]
        table.add_row(escape(label), *cells)
    return table


def _cell(count: int, total: int, *, right: bool) -> Text:
    """Right ones green; a tenth of the class or more in a wrong place red."""
    if right:
        return Text(str(count), "green")
    return Text(str(count) if count else "·", "red" if count >= total / 10 else "dim")


def origin(run: Run) -> RenderableType:
    """Configuration, versions and hashes."""
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
    """Of the first fold; an ensemble's are its weights, which are shown above."""
    return dict(run.hyperparameters[0]) if run.hyperparameters and not run.ensemble else {}


def _parameters(parameters: dict[str, object]) -> str:
    return escape(", ".join(f"{name}={value}" for name, value in parameters.items())) or "no parameters"
