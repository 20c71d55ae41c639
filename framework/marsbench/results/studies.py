"""Files of tuning: the study of each fold, its fits and their checkpoints."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from marsbench.atomic_files import (
    intact,
    read_checksummed,
    read_record,
    read_sealed,
    write_checksummed,
    write_sealed,
    write_text,
)
from marsbench.config import Objective
from marsbench.errors import ResultsError
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.scores import StoredRecord
from marsbench.plugin.search_space import Scalar

TrialState = Literal["complete", "pruned", "failed"]
WAITS = "no other trial has come as far"
"""Reason of trial 0 while its score is not needed; if it is, trial 0 goes on."""


class Trial(StoredRecord):
    """One configuration, scored inside a fold's training clips."""

    number: int
    """From 0, which is the untuned configuration."""
    state: TrialState
    """Only complete trials, those scored on every inner fold, compete."""
    configuration: dict[str, Scalar]
    """Proposed values by NAME.PARAMETER of the feature extractor and the model."""
    score: float | None
    """Mean over the inner folds; the last score of a pruned trial; None for a failed one."""
    steps: dict[int, float]
    """Scores before the trial ended, by the pruner's step; see the engine."""
    seconds: float
    """Seconds of fitting and predicting."""
    finished: str
    """UTC, ISO 8601."""
    reason: str | None = None
    """Why it was pruned or failed."""
    same_as: int | None = None
    """Earlier trial of the same configuration, whose score stands for this one's."""

    def repeated(self, number: int) -> "Trial":
        """This trial as that number, which is not fitted again."""
        same_as = self.number if self.same_as is None else self.same_as
        return self.model_copy(update={"number": number, "same_as": same_as, "seconds": 0.0})


class Study(StoredRecord):
    """The trials of one pipeline on one fold."""

    fold: int
    tuner: str
    objective: Objective
    inner_folds: int
    space: str
    """Digest of the search space."""
    trials: list[Trial]
    ended: str | None = None
    """Why no further trial follows; None while the study goes on."""
    taken: int | None = None
    """Number of the trial whose configuration the fold takes (`tuning.tuned_or_untuned.decide`).

    None while it is not decided, and in older studies, whose folds took the best.
    """

    @property
    def best(self) -> Trial | None:
        """The complete trial of the highest score, the first of equals; None if there is none."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.score is not None]
        return max(complete, key=lambda trial: (trial.score, -trial.number), default=None)

    @property
    def chosen(self) -> Trial | None:
        """The trial whose configuration the fold takes; None if none is complete: then the untuned one."""
        return self.best if self.taken is None or self.best is None else self.trials[self.taken]

    @property
    def untuned_waits(self) -> bool:
        """Whether trial 0 was not fitted to the end, as no other trial has come as far."""
        return any(trial.reason == WAITS for trial in self.trials[:1])

    @property
    def untuned_score(self) -> float | None:
        """Score of the untuned configuration; None unless it was scored on every inner fold."""
        return next((trial.score for trial in self.trials[:1] if trial.state == "complete"), None)


@dataclass(frozen=True)
class StudyFolder:
    """Files of the studies of one run; each is complete or absent."""

    path: Path
    """`study` in the run's folder."""

    @property
    def journal(self) -> Path:
        """The Optuna storage."""
        return self.path / "optuna.log"

    @property
    def history_plot(self) -> Path:
        """The optimisation history as a picture."""
        return self.path / "optimisation_history.png"

    def study(self, fold: int) -> Study | None:
        """The study of a fold, None if there is none; raises ResultsError if it is damaged."""
        path = self.path / f"fold-{fold}.json"
        return read_record(path, Study) if path.exists() else None

    def has_study(self, fold: int) -> bool:
        """Whether a fold's study is there and intact."""
        try:
            return self.study(fold) is not None
        except ResultsError:
            return False

    def studies(self) -> Iterator[Study]:
        """Studies of all folds, by fold; damaged ones are left out."""
        folds = [int(path.stem.removeprefix("fold-")) for path in self.path.glob("fold-*.json")]
        for fold in sorted(folds):
            with suppress(ResultsError):
                if study := self.study(fold):
                    yield study

    def write_study(self, study: Study) -> None:
        """Write a fold's study as it is now."""
        write_checksummed(self.path / f"fold-{study.fold}.json", study.model_dump_json())

    @property
    def seconds_spent(self) -> float:
        """Seconds of the time budget that earlier commands spent."""
        try:
            return float(json.loads(read_checksummed(self.path / "spent.json"))["seconds"])
        except (OSError, ResultsError):
            return 0.0

    def write_seconds_spent(self, seconds: float) -> None:
        """Write how much of the time budget is spent."""
        write_checksummed(self.path / "spent.json", json.dumps({"seconds": seconds}))

    def fit(self, fold: int, name: str, say: Callable[[str], None]) -> UnitResult | Failure | None:
        """Result of an inner fit; a damaged file is renamed, and `say` gets a line about it."""
        files = self._file(fold, f"{name}.json"), self._file(fold, f"{name}.failed.json")
        if result := intact(files[0], say, lambda path: read_record(path, UnitResult)):
            return result
        return intact(files[1], say, lambda path: read_record(path, Failure))

    def write_fit(self, fold: int, name: str, outcome: UnitResult | Failure) -> None:
        """Write the result of an inner fit."""
        ending = "failed.json" if isinstance(outcome, Failure) else "json"
        write_checksummed(self._file(fold, f"{name}.{ending}"), outcome.model_dump_json())

    def write_log(self, fold: int, name: str, text: str) -> None:
        """Write what a failed fit printed."""
        write_text(self._file(fold, f"{name}.log"), text)

    def checkpoint(self, fold: int, name: str) -> bytes | None:
        """What a fit can be resumed from; None if it is missing or damaged."""
        return read_sealed(self._file(fold, f"{name}.checkpoint"))

    def write_checkpoint(self, fold: int, name: str, data: bytes) -> None:
        """Keep what a fit can be resumed from."""
        write_sealed(self._file(fold, f"{name}.checkpoint"), data)

    def clear_checkpoints(self, fold: int) -> None:
        """Delete the checkpoints of a fold."""
        for path in self.path.glob(f"fold-{fold}/*.checkpoint"):
            path.unlink(missing_ok=True)

    def clear_failures(self) -> None:
        """Delete failures, so that the fits are tried again."""
        for path in self.path.glob("fold-*/*.failed.json"):
            path.unlink(missing_ok=True)

    def _file(self, fold: int, name: str) -> Path:
        return self.path / f"fold-{fold}" / name
