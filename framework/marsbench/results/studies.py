"""What is kept of tuning: the trials of each fold's study."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from marsbench.atomic_files import read_checksummed, write_checksummed, write_text
from marsbench.config import Objective
from marsbench.errors import ResultsError
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.plugin.search_space import Scalar
from marsbench.results.checksummed import intact, read_record, read_sealed, write_sealed

TrialState = Literal["complete", "pruned", "failed"]


class Trial(BaseModel):
    """One configuration, scored inside a fold's training clips."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    """From 0, which is the untuned configuration."""
    state: TrialState
    """Only complete trials, those scored on every inner fold, compete."""
    configuration: dict[str, Scalar]
    """What was proposed, by NAME.PARAMETER of the feature extractor and the model."""
    score: float | None
    """Mean over the inner folds; of a trial that was pruned, what it had come to; None if it failed."""
    steps: dict[int, float]
    """Scores on the way: by what the pruner calls a step, see `tuning.steps`."""
    seconds: float
    """Of fitting and predicting."""
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


class Study(BaseModel):
    """The trials of one pipeline on one fold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fold: int
    tuner: str
    objective: Objective
    inner_folds: int
    space: str
    """Digest of the search space."""
    trials: list[Trial]
    ended: str | None = None
    """Why no further trial follows; None while the study goes on."""

    @property
    def best(self) -> Trial | None:
        """The complete trial of the highest score, the first of equals; None if there is none."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.score is not None]
        return max(complete, key=lambda trial: (trial.score, -trial.number), default=None)


@dataclass(frozen=True)
class StudyFolder:
    """The studies of one run, each file whole or absent."""

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
        """What is kept of a fold's study; None if nothing is. Raises ResultsError if it is damaged."""
        path = self.path / f"fold-{fold}.json"
        return read_record(path, Study) if path.exists() else None

    def has_study(self, fold: int) -> bool:
        """Whether a fold's study is there and whole."""
        try:
            return self.study(fold) is not None
        except ResultsError:
            return False

    def studies(self) -> Iterator[Study]:
        """Of every fold that has one, by fold; damaged ones are passed over."""
        folds = [int(path.stem.removeprefix("fold-")) for path in self.path.glob("fold-*.json")]
        for fold in sorted(folds):
            with suppress(ResultsError):
                if study := self.study(fold):
                    yield study

    def write_study(self, study: Study) -> None:
        """Keep a fold's study as it stands."""
        write_checksummed(self.path / f"fold-{study.fold}.json", study.model_dump_json())

    @property
    def seconds_spent(self) -> float:
        """By earlier commands, of the time budget."""
        try:
            return float(json.loads(read_checksummed(self.path / "spent.json"))["seconds"])
        except (OSError, ResultsError):
            return 0.0

    def write_seconds_spent(self, seconds: float) -> None:
        """Keep how much of the time budget is gone."""
        write_checksummed(self.path / "spent.json", json.dumps({"seconds": seconds}))

    def fit(self, fold: int, name: str, say: Callable[[str], None]) -> UnitResult | Failure | None:
        """What came of an inner fit; a damaged file is set aside and `say` is told."""
        files = self._file(fold, f"{name}.json"), self._file(fold, f"{name}.failed.json")
        if result := intact(files[0], say, lambda path: read_record(path, UnitResult)):
            return result
        return intact(files[1], say, lambda path: read_record(path, Failure))

    def write_fit(self, fold: int, name: str, outcome: UnitResult | Failure) -> None:
        """Keep what came of an inner fit."""
        ending = "failed.json" if isinstance(outcome, Failure) else "json"
        write_checksummed(self._file(fold, f"{name}.{ending}"), outcome.model_dump_json())

    def write_log(self, fold: int, name: str, text: str) -> None:
        """Keep what a fit that failed printed."""
        write_text(self._file(fold, f"{name}.log"), text)

    def checkpoint(self, fold: int, name: str) -> bytes | None:
        """What a fit can be resumed from; None if it is missing or damaged."""
        return read_sealed(self._file(fold, f"{name}.checkpoint"))

    def write_checkpoint(self, fold: int, name: str, data: bytes) -> None:
        """Keep what a fit can be resumed from."""
        write_sealed(self._file(fold, f"{name}.checkpoint"), data)

    def clear_checkpoints(self, fold: int) -> None:
        """Drop those of trials that have ended."""
        for path in (self.path / f"fold-{fold}").glob("*.checkpoint"):
            path.unlink(missing_ok=True)

    def clear_failures(self) -> None:
        """Let inner fits that failed be tried again."""
        for path in self.path.glob("fold-*/*.failed.json"):
            path.unlink(missing_ok=True)

    def _file(self, fold: int, name: str) -> Path:
        return self.path / f"fold-{fold}" / name
