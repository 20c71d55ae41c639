"""Finished runs that can be fused: tested on the same clips, in the same folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.errors import ResultsError
from marsbench.evaluation.predictions import Predictions
from marsbench.results.comparison import place_of
from marsbench.results.predictions import read_predictions
from marsbench.results.schema import MemberRecord, Run
from marsbench.results.store import RunFolder, find_run


@dataclass(frozen=True)
class Member:
    """A run of one pipeline, with its predictions."""

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
        )


def find_members(root: Path, names: Sequence[str]) -> tuple[Member, ...]:
    """Runs as `find_run` finds them, by run id whatever order they are named in.

    Raises:
        ResultsError: no such run, one that is not complete, is an ensemble itself or was named twice; there
            are fewer than two; they were not tested alike; or predictions are missing or damaged.
    """
    members = sorted((_member(find_run(root, name)) for name in names), key=lambda one: one.run.run_id)
    ids = [member.run.run_id for member in members]
    for run_id in ids:
        if ids.count(run_id) > 1:
            raise ResultsError(f"{run_id} was named twice; name each run of an ensemble once")
    if len(members) < 2:
        raise ResultsError(f"an ensemble needs two runs or more; only {ids[0]} was named")
    for member in members[1:]:
        _require_alike(members[0], member)
    return tuple(members)


def _member(folder: RunFolder) -> Member:
    run = folder.read_run()
    if run.ensemble is not None:
        members = ", ".join(member.run_id for member in run.ensemble.members)
        raise ResultsError(f"{run.run_id} is an ensemble itself; name its members instead: {members}")
    if run.metrics is None:
        raise ResultsError(f"{run.run_id} is not complete, a fold failed; bench retry {run.run_id}")
    return Member(folder, run, read_predictions(folder, run))


def _require_alike(first: Member, other: Member) -> None:
    if first.run.protocol.hash != other.run.protocol.hash:
        raise ResultsError(
            f"{place_of(first.run)} and {place_of(other.run)} were not tested alike; "
            "name runs of one leaderboard"
        )
    if first.predictions.tested != other.predictions.tested:
        raise ResultsError(
            f"{other.folder.predictions} is not of the same clips as {first.folder.predictions}"
        )
