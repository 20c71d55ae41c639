from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.errors import ResultsError
from marsbench.evaluation.fit_result import UnitResult
from marsbench.results.schema import Standing
from marsbench.results.store import RunFolder, find_runs, run_folders

Write = Callable[..., RunFolder]
UNIT = UnitResult(
    fold=2,
    probabilities=np.array([[0.25, 0.75], [0.9, 0.1]], np.float32),
    hyperparameters={"sharpness": 1.0},
    n_parameters=None,
    history=[{"loss": float("nan")}],
    warnings=["dürftig"],
    finished="2026-01-01T00:00:00.000+00:00",
    environment={},
    fit_seconds=0.1,
    predict_seconds=0.1,
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A finished unit's file, `units/fold-2.json` of the run in `tmp_path`."""
    (tmp_path / "plan.json").touch()
    RunFolder(tmp_path).write_unit(UNIT)
    return tmp_path / "units" / "fold-2.json"


def read_unit(tmp_path: Path) -> tuple[UnitResult | None, list[str]]:
    """The unit of fold 2, and what was said."""
    heard: list[str] = []
    return RunFolder(tmp_path).unit(2, (2, 2), heard.append), heard


@pytest.mark.usefixtures("unit")
def test_a_unit_is_read_as_it_was_written(tmp_path: Path) -> None:
    read, heard = read_unit(tmp_path)
    assert repr(read) == repr(UNIT)
    assert heard == []


def test_a_unit_that_is_not_there_is_none_and_nothing_is_said(tmp_path: Path) -> None:
    assert read_unit(tmp_path) == (None, [])


def reseal(path: Path, old: bytes, new: bytes) -> None:
    """Edit a file so that its checksum fits."""
    write_checksummed(path, read_checksummed(path).replace(old, new).decode())


def hold(path: Path, **changes: object) -> None:
    """Let the file hold another unit."""
    write_checksummed(path, UNIT.model_copy(update=changes).model_dump_json())


def hold_rows(path: Path, *rows: list[float]) -> None:
    hold(path, probabilities=np.array(rows, np.float32))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:100]), "its checksum does not match"),
    "edited": (lambda path: path.write_text(path.read_text().replace("0.1", "0.2")), "does not match"),
    "without a seal": (lambda path: path.write_bytes(read_checksummed(path)), "its checksum does not match"),
    "empty": (lambda path: path.write_bytes(b""), "its checksum does not match"),
    "of another fold": (lambda path: hold(path, fold=1), "holds the unit of fold 1"),
    "of other clips": (lambda path: hold_rows(path, [1, 0]), "holds probabilities of shape (1, 2); (2, 2)"),
    "of other classes": (lambda path: hold_rows(path, [1, 0, 0], [1, 0, 0]), "probabilities of shape (2, 3)"),
    "not finite": (lambda path: hold_rows(path, [np.nan, 1], [1, 0]), "holds NaN or infinite probabilities"),
    "no probabilities": (lambda path: hold_rows(path, [0.5, 0.4], [1, 0]), "negative or do not sum to 1"),
    "of no matrix": (lambda path: reseal(path, b'"2:', b'"3:'), "probabilities: Value error, cannot reshape"),
    "of no text": (lambda path: reseal(path, b'"2:', b'"2:*'), "this version: probabilities: Value error"),
    "of another version": (lambda path: reseal(path, b'"fold"', b'"f":1,"fold"'), "this version: f: Extra"),
    "a folder": (make_folder, "cannot be read: Is a directory"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_unit_file_that_cannot_be_used_is_set_aside_and_told_in_one_line(
    tmp_path: Path, unit: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(unit)
    read, (line,) = read_unit(tmp_path)
    assert read is None
    assert line.startswith(f"{unit} ")
    assert line.endswith("; set aside as fold-2.damaged and computed again")
    assert reason in line
    assert [path.name for path in unit.parent.iterdir()] == ["fold-2.damaged"]


def test_a_standing_is_a_part_of_its_run(finished_run: Write) -> None:
    folder = finished_run("a", 0.5)
    standing, run = folder.read_standing(), folder.read_run()
    assert standing == Standing.model_validate_json(run.model_dump_json())
    assert {*Standing.model_fields} < {*type(run).model_fields}


@pytest.mark.parametrize("read", [RunFolder.read_run, RunFolder.read_standing])
def test_a_damaged_run_is_one_line_that_says_what_to_do(
    finished_run: Write, read: Callable[[RunFolder], object]
) -> None:
    folder = finished_run("a", 0.5)
    path = folder.path / "run.json"
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.9'))
    with pytest.raises(ResultsError) as error:
        read(folder)
    assert str(error.value) == (
        f"{path} is damaged: its checksum does not match; "
        "the same command run again writes it anew from its units"
    )


def test_a_run_of_another_version_is_one_line_that_says_what_differs(finished_run: Write) -> None:
    folder = finished_run("a", 0.5)
    reseal(folder.path / "run.json", b'"schema_version": 1', b'"schema_version": 9')
    with pytest.raises(ResultsError, match=r"run\.json is not of this version: schema_version: Input should"):
        folder.read_standing()


def test_folders_of_runs_come_by_name_and_the_finished_ones_can_be_told(finished_run: Write) -> None:
    finished_run("b", 0.5)
    finished_run("a", 0.5)
    Path("results/tones/stratified5/begun/units").mkdir(parents=True)
    Path("results/README.md").touch()
    assert [folder.path.name for folder in run_folders(Path("results"))] == ["a", "b", "begun"]
    assert [folder.path.name for folder in find_runs(Path("results"))] == ["a", "b"]


@pytest.mark.parametrize(("corpus", "protocol"), [("tone", None), ("*", None), ("..", None), (None, "a")])
def test_names_of_corpora_and_protocols_are_taken_as_they_are(
    finished_run: Write, corpus: str | None, protocol: str | None
) -> None:
    finished_run("a", 0.5)
    assert not list(run_folders(Path("results"), corpus, protocol))
    assert list(run_folders(Path("results"), "tones", "stratified5"))
