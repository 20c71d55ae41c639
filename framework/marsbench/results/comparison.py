"""Finished runs side by side on the clips that all of them were tested on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import confusion
from marsbench.evaluation.significance import Contender, Difference, Panel, differences, mcnemar
from marsbench.results.predictions import (
    class_names,
    predicted_of,
    probabilities_of,
    read_predictions,
    targets_of,
)
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder


@dataclass(frozen=True)
class Comparison:
    """Two runs of one protocol on one corpus."""

    first: Run
    second: Run
    tables: tuple[pd.DataFrame, pd.DataFrame]
    """Their predictions, row for row of the same clips."""

    @cached_property
    def difference(self) -> Difference:
        """Macro F1 of the first less that of the second, and what chance could have done."""
        return differences(panel_of(self.tables[0]), [contender_of([table]) for table in self.tables])[0, 1]

    @cached_property
    def right(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which clips each run recognises."""
        first, second = (predicted_of(table) == targets_of(table) for table in self.tables)
        return first, second

    @property
    def table(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """McNemar's table: clips by whether the first (down) and the second (across) is right, then wrong."""
        first, second = self.right
        both, only_first = int((first & second).sum()), int((first & ~second).sum())
        only_second, none = int((~first & second).sum()), int((~first & ~second).sum())
        return (both, only_first), (only_second, none)

    @property
    def p_mcnemar(self) -> float:
        """Two-sided p of McNemar's exact test."""
        return mcnemar(self.table[0][1], self.table[1][0])

    @cached_property
    def disagreements(self) -> pd.DataFrame:
        """Clips that one run alone recognises: clip, true, first, second and their probabilities.

        The clips where one run is surest of what the other denies come first.
        """
        first, second = self.tables
        rows = np.flatnonzero(self.right[0] != self.right[1])
        names = np.array(class_names(first))
        found = pd.DataFrame(
            {
                "clip": first["clip"].to_numpy()[rows],
                "true": first["label"].to_numpy()[rows],
                "first": names[predicted_of(first)[rows]],
                "first_probability": probabilities_of(first).max(axis=1)[rows],
                "second": names[predicted_of(second)[rows]],
                "second_probability": probabilities_of(second).max(axis=1)[rows],
            }
        )
        surest = -(found["first_probability"] + found["second_probability"])
        return found.iloc[np.argsort(surest.to_numpy(), kind="stable")].reset_index(drop=True)


def compare(first: RunFolder, second: RunFolder) -> Comparison:
    """Two runs side by side.

    Raises:
        ResultsError: one is not complete, or they are not of one protocol on one corpus.
    """
    runs = first.read_run(), second.read_run()
    for run in runs:
        if run.metrics is None:
            raise ResultsError(f"{run.run_id} is not complete: there is nothing to compare")
    if first.path.resolve() == second.path.resolve():
        raise ResultsError(f"{runs[0].run_id} was named twice; name another run to compare it with")
    if runs[0].protocol.hash != runs[1].protocol.hash:
        raise ResultsError(
            f"{place_of(runs[0])} and {place_of(runs[1])} were not tested alike; "
            "compare runs of one leaderboard"
        )
    tables = read_predictions(first.predictions), read_predictions(second.predictions)
    if clips_of(tables[0]) != clips_of(tables[1]):
        raise ResultsError(f"{second.predictions} is not of the same clips as {first.predictions}")
    return Comparison(*runs, tables)


def place_of(run: Run) -> str:
    """A run and the leaderboard it stands on."""
    return f"{run.run_id} ({run.corpus.name}, {run.protocol.name}, {run.protocol.hash[:8]})"


def clips_of(table: pd.DataFrame) -> tuple[tuple[object, ...], ...]:
    """What is equal for runs that were tested alike: clips, labels, folds and classes, in order."""
    return *(tuple(table[column]) for column in ("clip", "label", "fold")), tuple(class_names(table))


def panel_of(table: pd.DataFrame) -> Panel:
    """What every run on these clips shares."""
    sizes = table["fold"].value_counts().to_numpy()
    known = max(len(table), 1)
    return Panel(
        targets=targets_of(table),
        speakers=[None if pd.isna(speaker) else str(speaker) for speaker in table["speaker"]],
        n_classes=len(class_names(table)),
        test_share=float(np.mean(sizes / np.maximum(known - sizes, 1))),
    )


def contender_of(tables: Sequence[pd.DataFrame]) -> Contender:
    """One configuration, by the predictions of each of its seeds."""
    folds = np.unique(tables[0]["fold"].to_numpy())
    return Contender(
        predicted=tuple(predicted_of(table) for table in tables),
        score=float(np.mean([_macro_f1(table) for table in tables])),
        by_fold=np.array(
            [np.mean([_macro_f1(table[table["fold"] == fold]) for table in tables]) for fold in folds]
        ),
    )


def _macro_f1(table: pd.DataFrame) -> float:
    return float(confusion(targets_of(table), probabilities_of(table)).macro_f1)
