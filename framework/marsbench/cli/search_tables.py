"""A search as tables for a terminal."""

from collections import Counter

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from marsbench.automl.record import HeldOut, Looked, SearchRecord
from marsbench.cli.console import table as empty_table


def search_summary(record: SearchRecord) -> RenderableType:
    """What was looked at, how far each of the shortlist came, and what was left out."""
    looked, held_out = record.looked or [], record.held_out or []
    table = empty_table("pipeline", "hold-outs", title=f"\nSearch: {len(looked)} pipelines")
    table.add_column("a fold", justify="right")
    table.add_column("then", overflow="fold")
    for one in held_out:
        table.add_row(escape(one.name), f"{100 * one.score:.1f}", f"{one.seconds:.1f} s", _then(one, record))
    return Group(table, *(Text(line, "dim") for line in _left_out(looked)))


def _then(one: HeldOut, record: SearchRecord) -> str:
    if one.name not in (record.finalists or ()):
        return "no run"
    seconds = record.trials.get(one.name)
    if seconds is None:
        return "run"
    return f"run, trials for {seconds:.0f} s" if seconds else "run; no time for trials"


def _left_out(looked: list[Looked]) -> list[str]:
    """How many went no further, by reason."""
    reasons = Counter(one.reason for one in looked if one.reason)
    return [f"{count} went no further: {reason}" for reason, count in reasons.most_common()]
