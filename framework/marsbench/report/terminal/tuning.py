"""Tuning and searches as tables for a terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.automl.state import HoldoutScore, ScreeningResult, SearchRecord
from marsbench.evaluation.metrics import METRICS
from marsbench.report.terminal.console import table as empty_table
from marsbench.results.schema import TuningRecord
from marsbench.results.studies import Study, Trial

_COLOURS = {"complete": "green", "pruned": "dim", "failed": "red"}


def tuning_summary(tuning: TuningRecord) -> RenderableType:
    """The trial that each fold's study chose, with its validation and test score."""
    objective = METRICS[tuning.asked.objective].title
    table = empty_table("fold", "chosen", title=f"\nTuning by {tuning.asked.tuner}, {objective} in %")
    for name in ("validation", "test", "optimism"):
        table.add_column(name, justify="right")
    table.add_column("trials (complete, pruned, failed)", overflow="fold")
    for fold in tuning.folds:
        counts = f"{fold.complete}, {fold.pruned}, {fold.failed}: {fold.ended}"
        table.add_row(
            str(fold.fold + 1),
            "-" if fold.best is None else f"trial {fold.best}",
            _percent(fold.inner_score),
            _percent(fold.outer_score),
            "-" if fold.inner_score is None else f"{100 * (fold.inner_score - fold.outer_score):+.1f}",
            counts,
        )
    return table


def trials(studies: Sequence[Study], top: int = 10) -> RenderableType:
    """Each fold's trials, the best `top` of them (0: all), with their configurations."""
    return Group(*(_trials(study, top) for study in studies))


def _trials(study: Study, top: int) -> RenderableType:
    ranked = sorted(study.trials, key=_place)
    table = empty_table(title=f"\nFold {study.fold + 1}: {len(study.trials)} trials")
    table.add_column("trial", justify="right")
    table.add_column("score", justify="right")
    table.add_column("state")
    table.add_column("configuration, or reason", overflow="fold")
    for trial in ranked[: top or None]:
        score = Text(_percent(trial.score), "bold" if trial is study.best else "")
        table.add_row(str(trial.number), score, Text(trial.state, _COLOURS[trial.state]), _about(trial))
    hidden = len(ranked) - len(ranked[: top or None])
    more = [Text(f"… and {hidden} more; --top 0 shows all.", "dim")] if hidden else []
    return Group(table, *more)


def _place(trial: Trial) -> tuple[bool, float, int]:
    return trial.state != "complete", -(trial.score or 0.0), trial.number


def _about(trial: Trial) -> Text:
    values = ", ".join(f"{_short(name)}={_value(value)}" for name, value in trial.configuration.items())
    words = "untuned" if trial.number == 0 else values
    if trial.same_as is not None:
        words = f"same as trial {trial.same_as}"
    return Text.assemble(escape(words), (f"\n{trial.reason}", "dim") if trial.reason else "")


def importance(shares: Mapping[str, float]) -> RenderableType:
    """Parameters by their share of the variance of the scores."""
    if not shares:
        return Text("\nToo few or too similar trials for parameter importances.", "dim")
    table = Table(box=None, show_header=False)
    for name, share in shares.items():
        table.add_row(escape(name), f"{100 * share:.0f}")
    return Group(Text("\nImportance of parameters, %", "bold"), table)


def _short(name: str) -> str:
    return name.partition(".")[2]


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def search_summary(record: SearchRecord) -> RenderableType:
    """The shortlisted pipelines with their hold-out scores and runs, and why the others were dropped."""
    looked, held_out = record.looked or [], record.held_out or []
    table = empty_table("pipeline", "hold-out, %", title=f"\nSearch: {len(looked)} pipelines")
    table.add_column("per fold", justify="right")
    table.add_column("run", overflow="fold")
    for one in held_out:
        table.add_row(escape(one.name), f"{100 * one.score:.1f}", f"{one.seconds:.1f} s", _then(one, record))
    return Group(table, *(Text(line, "dim") for line in _dropped(looked)))


def _then(one: HoldoutScore, record: SearchRecord) -> str:
    if one.name not in (record.finalists or ()):
        return "none"
    seconds = record.trials.get(one.name)
    if seconds is None:
        return "untuned"
    return f"tuned for {seconds:.0f} s" if seconds else "untuned, no time for trials"


def _dropped(looked: list[ScreeningResult]) -> list[str]:
    """How many pipelines were dropped in screening, by reason."""
    reasons = Counter(one.reason for one in looked if one.reason)
    return [f"{count} dropped: {reason}" for reason, count in reasons.most_common()]
