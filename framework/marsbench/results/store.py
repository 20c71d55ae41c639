"""Runs as files: `<results>/<corpus>/<protocol>/<run id>/`.

run.json              configuration, origin, metrics, verdict
predictions.parquet   clip, speaker, fold, label, one probability p_CLASS for each class
units/fold-K.json     one finished unit each: what a rerun reads instead of training again
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from pydantic import ValidationError

from marsbench.errors import ResultsError, unknown
from marsbench.evaluation.unit_result import UnitResult
from marsbench.files import write_text
from marsbench.results.schema import Run


@dataclass(frozen=True)
class RunFolder:
    """One run's files, each of them whole or absent."""

    path: Path

    @property
    def predictions(self) -> Path:
        """Out-of-fold probabilities of every clip."""
        return self.path / "predictions.parquet"

    @property
    def confusion_plot(self) -> Path:
        """The confusion matrix as a picture."""
        return self.path / "confusion_matrix.png"

    def unit(self, fold: int, shape: tuple[int, int]) -> UnitResult | None:
        """The finished unit of a fold, or None; a file that cannot be it is set aside as `.damaged`.

        `shape` is that of its probabilities: test clips and classes of the fold.
        """
        path = self._unit_path(fold)
        try:
            result = UnitResult.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            result = None
        if result is None or result.fold != fold or not _has_shape(result.probabilities, shape):
            path.replace(path.with_suffix(".damaged"))
            return None
        return result

    def write_unit(self, result: UnitResult) -> None:
        """Keep a finished unit."""
        write_text(self._unit_path(result.fold), result.model_dump_json())

    def write_run(self, run: Run) -> None:
        """Write `run.json`: the run stands on the leaderboard from now on."""
        write_text(self.path / "run.json", run.model_dump_json(indent=1))

    def read_run(self) -> Run:
        """Read `run.json`; raises ResultsError if it is missing or not a run of this version."""
        path = self.path / "run.json"
        try:
            return Run.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole file"
            raise ResultsError(f"{path} is no run of this version: {where}: {first['msg']}") from error

    def _unit_path(self, fold: int) -> Path:
        return self.path / "units" / f"fold-{fold}.json"


def _has_shape(rows: list[list[float]], shape: tuple[int, int]) -> bool:
    return len(rows) == shape[0] and all(len(row) == shape[1] and all(map(isfinite, row)) for row in rows)


def find_runs(root: Path, corpus: str = "*", protocol: str = "*") -> Iterator[RunFolder]:
    """Every run below a results folder, of one corpus or protocol if named, in the order of their paths."""
    for path in sorted(root.glob(f"{corpus}/{protocol}/*/run.json")):
        yield RunFolder(path.parent)


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
    if name in runs or len(matching) == 1:
        return runs[name if name in runs else matching[0]]
    if matching:
        raise ResultsError(f"'{name}' begins {len(matching)} run ids: {', '.join(matching)}")
    if not runs:
        raise ResultsError(f"no runs in {root.absolute()}; make one with: bench run")
    raise ResultsError(unknown("run", name, runs))


def _begins(run_id: str, name: str) -> bool:
    return run_id.startswith(name) or run_id.rpartition("-")[2].startswith(name)
