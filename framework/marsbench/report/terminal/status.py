"""How far runs are, as a table for a terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from marsbench.report.terminal.console import table as empty_table
from marsbench.runner.status import RunState


def state_table(states: Sequence[RunState], *, finished_too: bool) -> RenderableType:
    """A row for each run that is not finished, or for all, and some lines for the whole."""
    unfinished = [state for state in states if not state.is_finished]
    shown = states if finished_too else unfinished
    parts: list[RenderableType] = []
    if shown:
        table = empty_table("features + model", "corpus, protocol")
        for name in ("done", "running", "failed", "to do", "left"):
            table.add_column(name, justify="right")
        for state in shown:
            table.add_row(*_cells(state))
        parts.append(table)
    head = f"{len(states) - len(unfinished)} run(s) finished, {len(unfinished)} not."
    return Group(*parts, Text(head), *map(Text, _hints(unfinished)))


def _cells(state: RunState) -> list[Text]:
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
        some = " for those whose units were timed before" if len(known) < len(unfinished) else ""
        yield f"About {duration(sum(known))} left{some}."
    if any(state.has_failed for state in unfinished):
        yield "bench retry --failed tries again what failed."
    begun = [state for state in unfinished if state.folder.is_planned and state.n_to_do]
    if begun and not any(state.is_live for state in begun):
        yield "No process is at work on them; the command that began them goes on where it stopped."


def duration(seconds: float) -> str:
    """Seconds in the two units that matter."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
