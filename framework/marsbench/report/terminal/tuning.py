"""Tuning as tables for a terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.automl.state import HoldoutScore, ScreeningResult, SearchRecord
from marsbench.config import Objective
from marsbench.report.terminal.console import table as empty_table
from marsbench.results.schema import TuningRecord
from marsbench.results.studies import Study, Trial

_OBJECTIVES: dict[Objective, str] = {"macro_f1": "macro F1", "accuracy": "accuracy", "uar": "UAR"}
_COLOURS = {"complete": "green", "pruned": "dim", "failed": "red"}


def tuning_summary(tuning: TuningRecord) -> RenderableType:
    """What each fold's study chose, and how its score inside compares with the one outside."""
    objective = _OBJECTIVES[tuning.asked.objective]
    table = empty_table("fold", "chosen", title=f"\nTuning by {tuning.asked.tuner}, {objective} in %")
    for name in ("inner", "outer", "optimism"):
        table.add_column(name, justify="right")
    table.add_column("trials (complete, pruned, failed)", overflow="fold")
    for fold in tuning.folds:
        inner = None if fold.inner_score is None else fold.inner_score
        counts = f"{fold.complete}, {fold.pruned}, {fold.failed}: {fold.ended}"
        table.add_row(
            str(fold.fold + 1),
            "-" if fold.best is None else f"trial {fold.best}",
            _percent(inner),
            _percent(fold.outer_score),
            "-" if inner is None else f"{100 * (inner - fold.outer_score):+.1f}",
            counts,
        )
    return table


def trials(studies: Sequence[Study], top: int = 10) -> RenderableType:
    """Each fold's trials, the best `top` of them (0: all), with what they tried."""
    return Group(*(_trials(study, top) for study in studies))


def _trials(study: Study, top: int) -> RenderableType:
    ranked = sorted(study.trials, key=_place)
    table = empty_table(title=f"\nFold {study.fold + 1}: {len(study.trials)} trials")
    table.add_column("trial", justify="right")
    table.add_column("score", justify="right")
    table.add_column("state")
    table.add_column("configuration, or why not", overflow="fold")
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
        words = f"as trial {trial.same_as}"
    return Text.assemble(escape(words), (f"\n{trial.reason}", "dim") if trial.reason else "")


def importance(shares: Mapping[str, float]) -> RenderableType:
    """Parameters by their share in the score's variance."""
    if not shares:
        return Text("\nToo few trials, or too alike, for parameter importances.", "dim")
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
    """What was looked at, how far each of the shortlist came, and what was left out."""
    looked, held_out = record.looked or [], record.held_out or []
    table = empty_table("pipeline", "hold-outs", title=f"\nSearch: {len(looked)} pipelines")
    table.add_column("a fold", justify="right")
    table.add_column("then", overflow="fold")
    for one in held_out:
        table.add_row(escape(one.name), f"{100 * one.score:.1f}", f"{one.seconds:.1f} s", _then(one, record))
    return Group(table, *(Text(line, "dim") for line in _left_out(looked)))


def _then(one: HoldoutScore, record: SearchRecord) -> str:
    if one.name not in (record.finalists or ()):
        return "no run"
    seconds = record.trials.get(one.name)
    if seconds is None:
        return "run"
    return f"run, trials for {seconds:.0f} s" if seconds else "run; no time for trials"


def _left_out(looked: list[ScreeningResult]) -> list[str]:
    """How many went no further, by reason."""
    reasons = Counter(one.reason for one in looked if one.reason)
    return [f"{count} went no further: {reason}" for reason, count in reasons.most_common()]
