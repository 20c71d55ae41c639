"""Runs and leaderboards as tables for a terminal."""

from collections.abc import Sequence
from statistics import fmean

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.evaluation.criteria import Grade, Outcome
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.scores import Metrics, Score
from marsbench.report.terminal.console import table as empty_table
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row, words_of
from marsbench.results.schema import EnsembleRecord, Run

_COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow"}
_SHORT = 7
"""Letters of a class that eight columns of a confusion matrix have room for."""


def board(shown: Board, top: int = 30) -> RenderableType:
    """A leaderboard's `top` rows, or with 0 all, a few lines a run so that it fits 80 columns."""
    rows = shown.rows[: top or None]
    synthetic = ", synthetic" if shown.synthetic else ""
    title = f"\nLeaderboard: {shown.corpus}{synthetic}, {shown.protocol}, {shown.hash[:8]}"
    table = empty_table(title=title)
    table.padding = (0, 0, 0, 0)
    table.add_column("#", justify="right")
    table.add_column("features\n+ model", no_wrap=True)
    for name in ("accuracy\n95 %", "macro F1\n95 %", "worst\nrecall", "training\nsize"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=9, overflow="fold")
    for row in rows:
        table.add_row(*_board_cells(row))
    failed = [Text(f"{row.run_id} failed: {row.reason}", "red") for row in rows if row.status == "failed"]
    return Group(table, *(Text(line, "dim") for line in _legend(shown, rows)), *failed)


def _legend(shown: Board, rows: Sequence[Row]) -> list[str]:
    """What the words and signs of a leaderboard mean, those of them that stand on it."""
    asked = shown.criteria
    thresholds = (
        f"In %. + exceeds, - does not: accuracy {100 * asked.accuracy:g}, macro F1 {100 * asked.macro_f1:g}, "
        f"every class {100 * asked.class_recall:g}. ±: over folds. "
        "P: of passing. ECE: calibration error. ms: from a clip to its class."
    )
    return [*facts(shown, rows), thresholds]


def facts(shown: Board, rows: Sequence[Row]) -> list[str]:
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
    if any(row.gap is not None for row in rows):
        lines.append("gap: macro F1 with the same speakers on both sides of the split, less that without.")
    if shown.n_older:
        lines.append(f"{shown.n_older} run(s) of older code are left out; --all shows them.")
    return lines


def _both_sides(shown: Board) -> list[str]:
    """What stands in training and test alike, by the nature of the protocol."""
    first = shown.rows[0]
    shared = {"speakers": first.speakers_shared, "statements": first.statements_shared}
    words = " and ".join(f"{count} {what}" for what, count in shared.items() if count)
    return [f"On both sides of the split: {words}. Unknown ones may fare worse."] if words else []


def _more(hidden: Sequence[Row]) -> list[str]:
    """How many rows are not shown, if any, and how many of these failed."""
    n_failed = sum(row.status == "failed" for row in hidden)
    failed = f" ({n_failed:,} failed)" if n_failed else ""
    return [f"… and {len(hidden):,} more{failed}; --top 0 shows all."] if hidden else []


def _board_cells(row: Row) -> list[RenderableType]:
    if row.status == "failed":
        return ["-", _pipeline(row), "", "", "", f"{row.train_seconds:.1f} s", Text("failed", "red")]
    return [
        str(row.rank),
        _pipeline(row),
        _stacked(_reached(row.accuracy, row.accuracy_reached), _range(row.accuracy_low, row.accuracy_high)),
        _stacked(
            _reached(row.macro_f1, row.macro_f1_reached),
            _range(row.macro_f1_low, row.macro_f1_high),
            Text("" if row.fold_spread is None else f"± {percent(row.fold_spread)}  ", "dim"),
        ),
        _stacked(
            Text(row.worst_class or ""),
            _reached(row.worst_recall, row.class_recall_reached),
            _range(row.worst_recall_low, row.worst_recall_high),
        ),
        _stacked(Text(f"{row.train_seconds:.1f} s"), *_cost_lines(row)),
        _stacked(_outcome(row.verdict), *_trust_lines(row)),
    ]


def _stacked(*lines: Text) -> Text:
    return Text("\n").join(line for line in lines if line)


def _range(low: float | None, high: float | None) -> Text:
    return Text("" if low is None or high is None else f"{100 * low:.0f}-{100 * high:.0f}  ", "dim")


def _cost_lines(row: Row) -> list[Text]:
    words = [
        f"{row.parameters:,}" if row.parameters is not None else "",
        _size(row.model_bytes) if row.model_bytes is not None else "",
        _milliseconds(row.milliseconds_per_clip) if row.milliseconds_per_clip is not None else "",
    ]
    return [Text(word, "dim") for word in words if word]


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


def _trust_lines(row: Row) -> list[Text]:
    words = [
        f"P {100 * row.pass_probability:.0f} %" if row.pass_probability is not None else "",
        f"loss {row.log_loss:.2f}" if row.log_loss is not None else "",
        f"ECE {100 * row.calibration_error:.1f}" if row.calibration_error is not None else "",
    ]
    return [Text(word, "dim") for word in words if word]


def _pipeline(row: Row) -> Text:
    words = [(f"\n{word}", "dim") for word in pipeline_words(row)]
    return Text.assemble(f"{row.features}\n+ {row.model} ", (row.short_id, "dim"), *words)


def pipeline_words(row: Row) -> list[str]:
    """What tells a row from others of its two plugins, and what it scores under the other kind of split."""
    return [*words_of(row), *_other_view(row)]


def _other_view(row: Row) -> list[str]:
    if row.gap is None or row.other_macro_f1 is None:
        return []
    return [f"{row.other_protocol} {percent(row.other_macro_f1)}, gap {100 * row.gap:+.1f}"]


def _reached(score: float | None, reached: bool | None) -> Text:
    if score is None:
        return Text()
    return Text(f"{100 * score:.1f} {'+' if reached else '-'}", "green" if reached else "red")


def _outcome(outcome: Outcome | None) -> Text:
    return Text(outcome.upper(), _COLOURS[outcome]) if outcome else Text()


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
            Text.assemble("Verdict: ", _outcome(run.verdict), _odds(run.pass_probability)),
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
            _outcome(entry.outcome),
        )
    return table


def _odds(probability: float | None) -> str:
    return "" if probability is None else f" (met by {percent(probability)} % of resampled corpora)"


def _recalls(metrics: Metrics) -> Text:
    cells = "  ".join(f"{scores.label} {100 * scores.recall.value:.0f}" for scores in metrics.classes)
    trust = f"log loss {metrics.log_loss:.3f}, calibration error {percent(metrics.calibration_error)} %"
    return Text(f"Recall by class (%): {cells}\nProbabilities: {trust}")


def _milliseconds(value: float) -> str:
    """Two digits or more."""
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def percent(value: float) -> str:
    """A share in %, without the sign."""
    return f"{100 * value:.1f}"


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
