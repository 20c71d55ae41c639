"""Finished runs side by side on the clips that all of them were tested on."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from marsbench.errors import ResultsError
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.significance import Difference, differences, mcnemar
from marsbench.results.predictions import read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder

if TYPE_CHECKING:  # takes half a second to import
    import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """Two runs of one protocol on one corpus."""

    first: Run
    second: Run
    predictions: tuple[Predictions, Predictions]
    """Of the first and the second run, row for row of the same clips."""

    @cached_property
    def difference(self) -> Difference:
        """The ranking metric of the first run minus that of the second, with its interval and p values."""
        return differences([[predictions] for predictions in self.predictions])[0, 1]

    @property
    def table(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """McNemar's table: clips by whether the first (down) and the second (across) is right, then wrong."""
        first, second = (predictions.correct for predictions in self.predictions)
        both, only_first = int((first & second).sum()), int((first & ~second).sum())
        only_second, none = int((~first & second).sum()), int((~first & ~second).sum())
        return (both, only_first), (only_second, none)

    @property
    def p_mcnemar(self) -> float:
        """Two-sided p of McNemar's exact test."""
        return mcnemar(self.table[0][1], self.table[1][0])

    @cached_property
    def disagreements(self) -> "pd.DataFrame":
        """Clips that one run alone recognises: clip, true, first, second and their probabilities.

        The clips where one run is surest of what the other denies come first.
        """
        import pandas as pd

        first, second = self.predictions
        rows = np.flatnonzero(first.correct != second.correct)
        sureness = [one.probabilities.max(axis=1).astype(np.float64) for one in self.predictions]
        rows = rows[np.argsort(-(sureness[0] + sureness[1])[rows], kind="stable")]
        names = np.array(first.labels)
        return pd.DataFrame(
            {
                "clip": [first.clips[row] for row in rows],
                "true": names[first.targets[rows]],
                "first": names[first.predicted[rows]],
                "first_probability": sureness[0][rows],
                "second": names[second.predicted[rows]],
                "second_probability": sureness[1][rows],
            }
        )


def compare(first: RunFolder, second: RunFolder) -> Comparison:
    """Two runs side by side.

    Raises:
        ResultsError: one is not complete, they are not of one protocol on one corpus, or predictions are
            missing or damaged.
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
    predictions = read_predictions(first, runs[0]), read_predictions(second, runs[1])
    if predictions[0].tested != predictions[1].tested:
        raise ResultsError(f"{second.predictions} is not of the same clips as {first.predictions}")
    return Comparison(*runs, predictions)


def place_of(run: Run) -> str:
    """A run and the leaderboard it stands on."""
    return f"{run.run_id} ({run.corpus.name}, {run.protocol.name}, {run.protocol.hash[:8]})"
