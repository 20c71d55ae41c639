"""Studies as files, in the folder of their run.

study/fold-K.json          the trials of fold K's study, written after each
study/optuna.log           the same trials as an Optuna journal storage, one study a fold, for Optuna's tools
study/spent.json           seconds that commands with a time budget took so far
study/fold-K/NAME.json     one inner fit each: what a rerun reads instead of training again
study/fold-K/NAME.failed.json   why an inner fit failed; NAME.log is what it printed
study/fold-K/NAME.checkpoint    numbers that the fit of a trial under way goes on from
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from marsbench.errors import ResultsError
from marsbench.evaluation.unit_result import Failure, UnitResult
from marsbench.files import read_sealed, write_atomically, write_sealed, write_text
from marsbench.results.sealed import intact, read_record
from marsbench.results.trials import Study


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
        write_sealed(self.path / f"fold-{study.fold}.json", study.model_dump_json())

    @property
    def seconds_spent(self) -> float:
        """By earlier commands, of the time budget."""
        try:
            return float(json.loads(read_sealed(self.path / "spent.json"))["seconds"])
        except (OSError, ResultsError):
            return 0.0

    def write_seconds_spent(self, seconds: float) -> None:
        """Keep how much of the time budget is gone."""
        write_sealed(self.path / "spent.json", json.dumps({"seconds": seconds}))

    def fit(self, fold: int, name: str, say: Callable[[str], None]) -> UnitResult | Failure | None:
        """What came of an inner fit; a damaged file is set aside and `say` is told."""
        files = self._file(fold, f"{name}.json"), self._file(fold, f"{name}.failed.json")
        if result := intact(files[0], say, lambda path: read_record(path, UnitResult)):
            return result
        return intact(files[1], say, lambda path: read_record(path, Failure))

    def write_fit(self, fold: int, name: str, outcome: UnitResult | Failure) -> None:
        """Keep what came of an inner fit."""
        ending = "failed.json" if isinstance(outcome, Failure) else "json"
        write_sealed(self._file(fold, f"{name}.{ending}"), outcome.model_dump_json())

    def write_log(self, fold: int, name: str, text: str) -> None:
        """Keep what a fit that failed printed."""
        write_text(self._file(fold, f"{name}.log"), text)

    def checkpoint(self, fold: int, name: str) -> bytes | None:
        """What the fit can go on from."""
        try:
            return self._file(fold, f"{name}.checkpoint").read_bytes()
        except OSError:
            return None

    def write_checkpoint(self, fold: int, name: str, data: bytes) -> None:
        """Keep it until the trial has ended."""
        write_atomically(self._file(fold, f"{name}.checkpoint"), lambda file: file.write(data))

    def forget_checkpoints(self, fold: int) -> None:
        """Drop those of trials that have ended."""
        for path in (self.path / f"fold-{fold}").glob("*.checkpoint"):
            path.unlink(missing_ok=True)

    def forget_failures(self) -> None:
        """Let inner fits that failed be tried again."""
        for path in self.path.glob("fold-*/*.failed.json"):
            path.unlink(missing_ok=True)

    def _file(self, fold: int, name: str) -> Path:
        return self.path / f"fold-{fold}" / name
