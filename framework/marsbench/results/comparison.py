"""Complete runs that were tested alike: two of them side by side, or several to be made into an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marsbench.errors import ResultsError
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.significance import Difference, differences, mcnemar
from marsbench.results.predictions import read_predictions
from marsbench.results.schema import MemberRecord, Run
from marsbench.results.store import RunFolder, find_run

if TYPE_CHECKING:  # takes half a second to import
    import pandas as pd


@dataclass(frozen=True)
class Member:
    """A complete run with its predictions."""

    folder: RunFolder
    run: Run
    predictions: Predictions
    """Row for row of the same clips as those of the other members."""

    @property
    def record(self) -> MemberRecord:
        """What an ensemble keeps of it."""
        run = self.run
        return MemberRecord(
            run_id=run.run_id,
            features=run.features.name,
            model=run.model.name,
            settings=run.settings,
            seed=run.seed,
            tuned=run.tuning.asked.key if run.tuning else None,
            normalise=run.normalise,
            versions=run.versions,
        )


@dataclass(frozen=True)
class Comparison:
    """Two runs of one protocol on one corpus."""

    first: Run
    second: Run
    predictions: tuple[Predictions, Predictions]
    """Those of the first and of the second run, row for row of the same clips."""

    @cached_property
    def difference(self) -> Difference:
        """The ranking metric of the first run minus that of the second, with its interval and p values."""
        return differences([[predictions] for predictions in self.predictions])[0, 1]

    @property
    def table(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """McNemar's table: clips by whether the first (down) and the second (across) is right, then wrong."""
        first, second = (predictions.correct for predictions in self.predictions)
        both, only_first, only_second, none = np.bincount(2 * ~first + ~second, minlength=4).tolist()
        return (both, only_first), (only_second, none)

    @property
    def p_mcnemar(self) -> float:
        """Two-sided p of McNemar's exact test."""
        return mcnemar(self.table[0][1], self.table[1][0])

    @cached_property
    def one_is_right(self) -> list[dict[str, Any]]:
        """Clips that one run alone recognises: clip, true, first, second and their probabilities.

        The clips where one run is surest of what the other denies come first.
        """
        first, second = self.predictions
        rows = np.flatnonzero(first.correct != second.correct)
        sureness = [one.probabilities.max(axis=1).astype(np.float64) for one in self.predictions]
        names = first.labels
        return [
            {
                "clip": first.clips[row],
                "true": names[first.targets[row]],
                "first": names[first.predicted[row]],
                "first_probability": float(sureness[0][row]),
                "second": names[second.predicted[row]],
                "second_probability": float(sureness[1][row]),
            }
            for row in rows[np.argsort(-(sureness[0] + sureness[1])[rows], kind="stable")]
        ]

    @property
    def disagreements(self) -> "pd.DataFrame":
        """`one_is_right` as a table, a row a clip."""
        import pandas as pd

        columns = ["clip", "true", "first", "first_probability", "second", "second_probability"]
        return pd.DataFrame(self.one_is_right, columns=columns)


def compare(first: RunFolder, second: RunFolder) -> Comparison:
    """Two runs side by side.

    Raises:
        ResultsError: one is not complete, they are one, were not tested alike, or predictions are missing or
            damaged.
    """
    if first.path.resolve() == second.path.resolve():
        raise ResultsError(f"{first.path.name} was named twice; name another run to compare it with")
    one, other = _member(first), _member(second)
    _require_alike(one, other)
    return Comparison(one.run, other.run, (one.predictions, other.predictions))


def find_members(root: Path, names: Sequence[str]) -> tuple[Member, ...]:
    """Runs of pipelines as `find_run` finds them, by run id whatever order they are named in.

    Raises:
        ResultsError: no such run, one that is not complete, is an ensemble itself or was named twice; there
            are fewer than two; they were not tested alike; or predictions are missing or damaged.
    """
    folders = [find_run(root, name) for name in names]
    found = [_member(folder, may_be_fused=False) for folder in folders]
    members = sorted(found, key=lambda member: member.run.run_id)
    ids = [member.run.run_id for member in members]
    for run_id in ids:
        if ids.count(run_id) > 1:
            raise ResultsError(f"{run_id} was named twice; name each run of an ensemble once")
    if len(members) < 2:
        named = f"only {ids[0]} was named" if ids else "none was named; --choose chooses among a board's"
        raise ResultsError(f"an ensemble needs two runs or more; {named}")
    for member in members[1:]:
        _require_alike(members[0], member)
    return tuple(members)


def _member(folder: RunFolder, *, may_be_fused: bool = True) -> Member:
    run = folder.read_run()
    if run.ensemble is not None and not may_be_fused:
        members = ", ".join(member.run_id for member in run.ensemble.members)
        raise ResultsError(f"{run.run_id} is an ensemble itself; name its members instead: {members}")
    if run.metrics is None:
        raise ResultsError(f"{run.run_id} is not complete, a fold failed; bench retry {run.run_id}")
    return Member(folder, run, read_predictions(folder, run))


def _require_alike(first: Member, other: Member) -> None:
    if first.run.protocol.hash != other.run.protocol.hash:
        places = " and ".join(
            f"{run.run_id} ({run.corpus.name}, {run.protocol.name}, {run.protocol.hash[:8]})"
            for run in (first.run, other.run)
        )
        raise ResultsError(f"{places} were not tested alike; name runs of one leaderboard")
    if first.predictions.tested != other.predictions.tested:
        raise ResultsError(
            f"{other.folder.predictions} is not of the same clips as {first.folder.predictions}"
        )
