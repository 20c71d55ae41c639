"""Runs as files: `<results>/<corpus>/<protocol>/<run id>/`.

plan.json               what was asked, written before anything is done: `bench status` reads it
run.json                configuration, origin, metrics, verdict
predictions.parquet     clip, speaker, fold, label, one probability p_CLASS for each class, float32
units/fold-K.json       one finished unit each: what a rerun reads instead of training again
units/fold-K.failed.json   why a unit failed, which a rerun leaves alone
units/fold-K.running    empty; there while the process that has the folder's lock runs the unit
logs/fold-K.log         what a unit printed
study/                  what a tuned run keeps of its trials, see `studies`

The JSON files begin with a checksum of themselves; that of the predictions is in `run.json`. Folds count
from 0.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from marsbench.atomic_files import intact, read_record, write_checksummed, write_record, write_text
from marsbench.errors import DamagedError, ResultsError, StorageError, reason_of, unknown
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.results.schema import Run, RunPlan, Standing, with_limits
from marsbench.results.studies import StudyFolder

_Kind = TypeVar("_Kind", bound=Standing)


class StatusCounts(NamedTuple):
    """How many units of a run are in which state."""

    done: int
    failed: int
    running: int


@dataclass(frozen=True)
class RunFolder:
    """One run's files, each of them whole or absent."""

    path: Path

    @property
    def is_finished(self) -> bool:
        """Whether there is a `run.json`: without, the run goes on or was interrupted."""
        return self._run_path.exists()

    @property
    def predictions(self) -> Path:
        """Out-of-fold probabilities of every clip."""
        return self.path / "predictions.parquet"

    @property
    def confusion_plot(self) -> Path:
        """The confusion matrix as a picture."""
        return self.path / "confusion_matrix.png"

    @property
    def study(self) -> StudyFolder:
        """What is kept of tuning."""
        return StudyFolder(self.path / "study")

    @property
    def is_planned(self) -> bool:
        """Whether the run was begun."""
        return (self.path / "plan.json").is_file()

    def unit(self, fold: int, shape: tuple[int, int], say: Callable[[str], None]) -> UnitResult | None:
        """The finished unit of a fold, whose probabilities have a shape (n_clips, n_classes), or None.

        A file that cannot be it is renamed to `.damaged`, and `say` gets one line.
        """
        return intact(self._unit_file(fold, "json"), say, lambda path: _read_unit(path, fold, shape))

    def read_unit(self, fold: int) -> UnitResult:
        """The finished unit of a fold; raises ResultsError if it is missing or damaged."""
        return read_record(self._unit_file(fold, "json"), UnitResult)

    def write_unit(self, result: UnitResult) -> None:
        """Keep a finished unit; raises StorageError, also if the folder was removed meanwhile."""
        self._require_present()
        write_checksummed(self._unit_file(result.fold, "json"), result.model_dump_json())

    def failure(self, fold: int, say: Callable[[str], None]) -> Failure | None:
        """Why the unit of a fold failed, or None; a damaged file is set aside as that of a unit is."""
        return intact(self._unit_file(fold, "failed.json"), say, lambda path: read_record(path, Failure))

    def write_failure(self, failure: Failure) -> None:
        """Keep a unit's failure; its `fold` says which."""
        self._require_present()
        write_checksummed(self._unit_file(failure.fold, "failed.json"), failure.model_dump_json())

    def clear_failures(self) -> None:
        """Let the units that failed be tried again."""
        for path in self._units.glob("*.failed.json"):
            path.unlink(missing_ok=True)
        self.study.clear_failures()

    def write_log(self, fold: int, text: str) -> str:
        """Keep what a unit printed; gives the file's path below this folder."""
        self._require_present()
        write_text(self.path / "logs" / f"fold-{fold}.log", text)
        return f"logs/fold-{fold}.log"

    def mark_running(self, fold: int) -> None:
        """Show that a unit is under way; raises StorageError."""
        path = self._unit_file(fold, "running")
        try:
            path.parent.mkdir(exist_ok=True)
            path.touch()
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {reason_of(error)}") from error

    def clear_running(self, fold: int | None = None) -> None:
        """Take back the mark of one unit, or all."""
        for path in self._units.glob(f"fold-{'*' if fold is None else fold}.running"):
            path.unlink(missing_ok=True)

    def status_counts(self) -> StatusCounts:
        """How many units are finished, failed and under way, by the names of files alone."""
        endings = Counter(path.name.partition(".")[2] for path in self._units.glob("fold-*"))
        return StatusCounts(endings["json"], endings["failed.json"], endings["running"])

    def unit_seconds(self) -> Iterator[float]:
        """Time that each finished unit took; damaged files are passed over."""
        for path in self._units.glob("fold-*.json"):
            if not path.name.endswith(".failed.json"):
                with suppress(ResultsError):
                    result = read_record(path, UnitResult)
                    yield result.fit_seconds + result.predict_seconds

    def write_plan(self, plan: RunPlan) -> None:
        """Write `plan.json`: `bench status` knows of the run from now on."""
        write_record(self.path / "plan.json", plan)

    def read_plan(self) -> RunPlan:
        """Read `plan.json`; raises ResultsError if it is missing, damaged or not of this version."""
        return read_record(self.path / "plan.json", RunPlan)

    def write_run(self, run: Run) -> None:
        """Write `run.json`: the run stands on the leaderboard from now on."""
        write_record(self._run_path, run)

    def read_run(self) -> Run:
        """Read `run.json`; raises ResultsError if it is missing, damaged or not a run of this version."""
        return self._read(Run)

    def read_standing(self) -> Standing | None:
        """Read what a leaderboard needs of `run.json`, None if there is none; raises as `read_run` does."""
        try:
            return self._read(Standing)
        except ResultsError:
            # Asked only now: asking before each of thousands would take a tenth of a leaderboard's time.
            if not self.is_finished:
                return None
            raise

    def _read(self, kind: type[_Kind]) -> _Kind:
        try:
            return with_limits(read_record(self._run_path, kind))
        except DamagedError as error:
            remedy = "the same command run again writes it anew from its units"
            raise DamagedError(f"{error}; {remedy}") from error

    @property
    def _units(self) -> Path:
        return self.path / "units"

    @property
    def _run_path(self) -> Path:
        return self.path / "run.json"

    def _unit_file(self, fold: int | None, ending: str) -> Path:
        return self._units / f"fold-{fold}.{ending}"

    def _require_present(self) -> None:
        """What was finished before is gone with the folder: a run must not end as if it were there."""
        if not (self.path / "plan.json").exists():
            raise StorageError(f"{self.path} was removed while the run was under way; start it again")


def _read_unit(path: Path, fold: int, shape: tuple[int, int]) -> UnitResult:
    from marsbench.evaluation.predictions import flaw_in  # brings NumPy, which listing runs needs not

    result = read_record(path, UnitResult)
    if result.fold != fold:
        raise ResultsError(f"{path} holds the unit of fold {result.fold}")
    if flaw := flaw_in(result.probabilities, shape):
        raise ResultsError(f"{path} holds {flaw}")
    return result


def run_folders(root: Path, corpus: str | None = None, protocol: str | None = None) -> Iterator[RunFolder]:
    """Folders of all runs below a results folder, finished or not, of one corpus or protocol if named."""
    for of_corpus in _inside(root, corpus):
        for of_protocol in _inside(of_corpus, protocol):
            yield from map(RunFolder, _inside(of_protocol))


def _inside(folder: Path, name: str | None = None) -> list[Path]:
    """What is in a folder, by name, or only what has that name."""
    try:
        paths = [path for path in folder.iterdir() if name is None or path.name == name]
    except OSError:  # no folder, or another user's
        return []
    return sorted(paths, key=lambda path: path.name)


def find_runs(root: Path) -> Iterator[RunFolder]:
    """Every finished run below a results folder."""
    return (folder for folder in run_folders(root) if folder.is_finished)


def find_planned(root: Path) -> Iterator[RunFolder]:
    """Every run below a results folder that was begun, finished or not."""
    return (folder for folder in run_folders(root) if folder.is_planned)


def find_run(root: Path, name: str) -> RunFolder:
    """The run of that id or in that folder, or the one whose id, or the id's last part, begins so.

    Raises:
        ResultsError: none, or several.
    """
    path = Path(name).parent if name.endswith("run.json") else Path(name)
    if (path / "run.json").is_file():
        return RunFolder(path)
    runs = {folder.path.name: folder for folder in find_runs(root)}
    matching = [run_id for run_id in runs if name and _begins(run_id, name)]
    if name in runs:
        return runs[name]
    if len(matching) == 1:
        return runs[matching[0]]
    if matching:
        raise ResultsError(f"'{name}' begins {len(matching)} run ids: {', '.join(matching)}")
    if not runs:
        raise ResultsError(f"no runs in {root.absolute()}; make one with: bench run")
    raise ResultsError(unknown("run", name, runs))


def _begins(run_id: str, name: str) -> bool:
    return run_id.startswith(name) or run_id.rpartition("-")[2].startswith(name)
