"""Disks that are full, folders that vanish, files that are no longer what was written."""

import errno
import json
import os
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

Bench = Callable[..., Any]
Places = Callable[..., Any]

ONE_UNIT = "run --features crossings --model slow_mean --data tones --protocol holdout80 --workers 0"
FEW = "run --features slow_crossings,blocks --model slow_mean --data tones --set tones.n_takes=1 --workers 2"


@pytest.fixture
def typed(bench: Bench, kit: Path) -> Bench:
    """Run a command in this process, with the plugins of the kit."""
    return lambda command: bench(*command.split(), "--plugins", kit)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A line for each fit."""
    path = tmp_path / "ledger"
    monkeypatch.setenv("KIT_LEDGER", str(path))
    return path


@pytest.fixture
def predicted(undisturbed: Places) -> dict[str, bytes]:
    """What `ONE_UNIT` gives where nothing goes wrong."""
    there: dict[str, bytes] = undisturbed(ONE_UNIT).predictions()
    return there


def predictions() -> dict[str, bytes]:
    paths = Path("results").rglob("predictions.parquet")
    return {path.parent.name.rpartition("-")[0]: path.read_bytes() for path in paths}


def line_of(text: str) -> str:
    """The one line that tells what went wrong; progress is not in it."""
    lines = [line for line in text.splitlines() if line.startswith(("bench:", "Traceback", "  File"))]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("number", range(1, 10))
def test_a_disk_that_gets_full_at_any_file_is_one_line_and_the_rerun_completes(
    typed: Bench, monkeypatch: pytest.MonkeyPatch, predicted: dict[str, bytes], number: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_at(number))
        result = typed(ONE_UNIT)
    assert result.exit_code == 1
    assert re.fullmatch(
        r"bench: \S+ cannot be written: No space left on device; free .* again", line_of(result.stderr)
    )
    assert not [path for path in Path().rglob(".*") if not path.name.startswith(".lock")]
    assert typed(ONE_UNIT).exit_code == 0
    assert predictions() == predicted
    assert not [*Path().rglob("*.damaged")]


def test_a_disk_without_room_for_one_more_name_is_one_line(
    typed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touch(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "touch", touch)
    result = typed(ONE_UNIT)
    assert result.exit_code == 1
    assert re.fullmatch(
        r"bench: \S+ cannot be written.*: No space left on device; .*", line_of(result.stderr)
    )


def full_at(number: int) -> Callable[[int], None]:
    """An `fsync` that finds the disk full at the `number`-th file."""
    numbers, flush = count(1), os.fsync

    def fsync(file: int) -> None:
        if next(numbers) == number:
            os.truncate(file, 10)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(file)

    return fsync


@pytest.mark.parametrize("size", [500, 1500, 3000])
def test_a_file_that_may_not_grow_ends_the_run_with_one_line(
    place: Places, undisturbed: Places, size: int
) -> None:
    there = place()
    there.run(f"{ONE_UNIT} --results others")  # the audio and its features are there
    result = there.run(f"{ONE_UNIT} --workers 1", sabotage=("limit_file_size", size))
    assert result.code == 1
    assert re.fullmatch(r"bench: \S+ cannot be written: File too large; .*", line_of(result.text))
    assert there.run(f"{ONE_UNIT} --workers 1").code == 0
    assert there.predictions() == undisturbed(ONE_UNIT).predictions()
    there.assert_tidy()


@pytest.mark.parametrize("way", ["results", "results/tones", "results/tones/holdout80"])
def test_a_file_in_a_folders_place_is_one_line(typed: Bench, way: str) -> None:
    Path(way).parent.mkdir(parents=True, exist_ok=True)
    Path(way).touch()
    result = typed(ONE_UNIT)
    assert result.exit_code == 1
    assert re.fullmatch(
        r"bench: \S*results\S* cannot be writ.*: (Not a directory|File exists)", line_of(result.stderr)
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("way", ["results", "results/tones/holdout80"])
def test_a_folder_that_may_only_be_read_is_one_line(typed: Bench, way: str) -> None:
    Path(way).mkdir(parents=True)
    Path(way).chmod(0o500)
    result = typed(ONE_UNIT)
    assert result.exit_code == 1
    assert re.fullmatch(r"bench: \S*results\S* cannot be writ.*: Permission denied", line_of(result.stderr))


@pytest.mark.parametrize("n_notes", [1, 18])
def test_results_removed_during_the_run_end_it_and_the_rerun_completes(
    place: Places, undisturbed: Places, n_notes: int
) -> None:
    there = place()
    bench = there.start(FEW)
    there.await_notes(n_notes)
    rmtree(there.results.rename(there.folder / "removed"))
    assert bench.code == 1
    assert re.fullmatch(
        r"bench: \S+ was removed while the run was under way; start it again", line_of(bench.text)
    )
    assert not there.predictions()
    assert there.run(FEW).code == 0
    assert there.predictions() == undisturbed(FEW).predictions()
    there.assert_tidy()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def edit(path: Path) -> None:
    """Change the last digit."""
    text = path.read_text()
    position = max(text.rfind(digit) for digit in "0123456789")
    path.write_text(f"{text[:position]}{9 - int(text[position])}{text[position + 1 :]}")


def flip(path: Path) -> None:
    """Change a byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


damages = pytest.mark.parametrize("damage", [cut, edit, empty])
Damage = Callable[[Path], None]


@damages
def test_a_damaged_unit_is_set_aside_and_fitted_again(
    typed: Bench, ledger: Path, predicted: dict[str, bytes], damage: Damage
) -> None:
    typed(ONE_UNIT)
    unit = next(Path("results").rglob("fold-0.json"))
    damage(unit)
    again = typed(ONE_UNIT)
    assert again.exit_code == 0
    told = f"{unit} is damaged: its checksum does not match; set aside as fold-0.damaged and computed again"
    assert told in again.stderr
    assert unit.with_suffix(".damaged").exists()
    assert len(ledger.read_text().splitlines()) == 2
    assert predictions() == predicted


@damages
def test_a_damaged_failure_is_set_aside_and_tried_again(typed: Bench, damage: Damage) -> None:
    command = "run --features crossings --model troubled --data tones --protocol holdout80"
    typed(command)
    failure = next(Path("results").rglob("fold-0.failed.json"))
    damage(failure)
    again = typed(command)
    assert again.exit_code == 1
    assert f"{failure} is damaged" in again.stderr
    assert failure.with_name("fold-0.failed.damaged").exists()
    assert "failed earlier" not in again.stderr
    assert "no luck today" in failure.read_text()


@damages
def test_a_damaged_run_is_named_and_written_anew_without_training(
    bench: Bench, typed: Bench, ledger: Path, damage: Damage
) -> None:
    typed(ONE_UNIT)
    run = next(Path("results").rglob("run.json"))
    before = run.read_bytes()
    damage(run)
    board = bench("leaderboard")
    assert f"{run} is damaged" in board.stderr
    assert typed(ONE_UNIT).exit_code == 0
    assert run.read_bytes() == before
    assert len(ledger.read_text().splitlines()) == 1


@damages
def test_a_damaged_plan_is_named_and_written_anew(
    bench: Bench, typed: Bench, ledger: Path, damage: Damage
) -> None:
    typed(ONE_UNIT)
    plan = next(Path("results").rglob("plan.json"))
    damage(plan)
    assert f"left out: {plan} is damaged" in bench("status").stderr
    assert typed(ONE_UNIT).exit_code == 0
    assert json.loads(bench("status", "--json").stdout)[0]["done"] == 1
    assert len(ledger.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("*.json", cut),
        ("*.json", empty),
        ("*.f32", cut),
        ("*.f32", flip),
        ("*.f32", empty),
        ("*.json", edit),
    ],
)
def test_damaged_features_are_extracted_again(
    typed: Bench, predicted: dict[str, bytes], name: str, damage: Damage
) -> None:
    typed(f"{ONE_UNIT} --results others")
    damage(next(Path("home/features").rglob(name)))
    assert typed(ONE_UNIT).exit_code == 0
    assert predictions() == predicted


@pytest.mark.parametrize("damage", [cut, empty])
def test_damaged_predictions_are_written_anew(
    typed: Bench, predicted: dict[str, bytes], damage: Damage
) -> None:
    typed(ONE_UNIT)
    damage(next(Path("results").rglob("predictions.parquet")))
    assert typed(ONE_UNIT).exit_code == 0
    assert predictions() == predicted
