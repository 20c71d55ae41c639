"""Tuning as tables for a terminal: what each fold took, its trials, the importance of parameters."""

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from marsbench.evaluation.metrics import objective_title
from marsbench.report.terminal.console import frameless, n_more, table
from marsbench.report.terminal.runs import head, percent
from marsbench.results.row import Row
from marsbench.results.schema import Run, TuningRecord, training_words
from marsbench.results.studies import Study, Trial

_COLOURS = {"complete": "green", "pruned": "dim", "failed": "red"}


def tuned_in_vain(run: Run, before: Iterable[Run]) -> Text | None:
    """A line instead of the scores of a tuned run that are those of an untuned one `before`; else None."""
    is_shown = any(one.tuning is None and _scored_as(one) == _scored_as(run) for one in before)
    if not is_shown or run.metrics is None or run.tuning is None or not run.tuning.found_nothing:
        return None
    line = ": tuning found nothing better on any fold; its scores are those of the untuned run above."
    return Text.assemble((head(run), "bold"), line)


def _scored_as(run: Run) -> tuple[object, ...]:
    settings = run.settings, training_words(run)
    return run.features.name, run.model.name, settings, run.protocol.hash, run.seed, run.metrics


def tuning_summary(tuning: TuningRecord, row: Row | None) -> Table:
    """The trial that each fold took, with its scores; `row` is of that run."""
    optimisms = row.optimisms if row else tuning.optimisms(())
    rows = [
        (
            fold.fold + 1,
            f"trial {fold.best}" if fold.best else "untuned",
            percent(fold.inner_score),
            percent(fold.untuned_score),
            percent(fold.outer_score),
            "-" if optimism is None else f"{100 * optimism:+.1f}",
            f"{fold.complete}, {fold.pruned}, {fold.failed}: {fold.ended}",
        )
        for fold, optimism in zip(tuning.folds, optimisms, strict=True)
    ]
    return table(
        "fold", "chosen", numbers=("validation", "untuned", "test", "optimism"),
        folded=["trials (complete, pruned, failed)"], rows=rows,
        title=f"\nTuning by {tuning.asked.tuner}, {objective_title(tuning.asked.objective)} in %",
    )  # fmt: skip


def trials(studies: Iterable[Study], top: int = 10) -> RenderableType:
    """Each fold's trials, the best `top` of them (0: all), with their configurations."""
    return Group(*(part for study in studies for part in _trials(study, top)))


def _trials(study: Study, top: int) -> list[RenderableType]:
    ranked = sorted(
        study.trials, key=lambda trial: (trial.state != "complete", -(trial.score or 0.0), trial.number)
    )
    rows = []
    for trial in ranked[: top or None]:
        score = Text(percent(trial.score), "bold" if trial is study.chosen else "")
        rows.append((trial.number, score, Text(trial.state, _COLOURS[trial.state]), _configuration(trial)))
    title = f"\nFold {study.fold + 1}: {len(ranked)} trials"
    folded = ("state", "configuration, or reason")
    made = table(numbers=("trial", "score"), folded=folded, rows=rows, title=title)
    return [made, *n_more(len(ranked) - len(rows))]


def _configuration(trial: Trial) -> Text:
    words = ", ".join(
        f"{name.partition('.')[2]}={f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in trial.configuration.items()
    )
    if trial.number == 0:
        words = "untuned"
    if trial.same_as is not None:
        words = f"same as trial {trial.same_as}"
    return Text.assemble(words, (f"\n{trial.reason}", "dim") if trial.reason else "")


def importance(shares: Mapping[str, float]) -> RenderableType:
    """Parameters by their share of the variance of the scores."""
    if not shares:
        return Text("\nToo few or too similar trials for parameter importances.", "dim")
    percents = ((name, f"{100 * share:.0f}") for name, share in shares.items())
    return Group(Text("\nImportance of parameters, %", "bold"), frameless(rows=percents))
