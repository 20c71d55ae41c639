"""Files of tuning: checkpoints with a checksum, and what is left of damaged ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from marsbench.results.studies import StudyFolder

DATA = bytes(range(256)) * 4


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """With one checkpoint."""
    folder = StudyFolder(tmp_path)
    folder.write_checkpoint(0, "fit", DATA)
    return folder


def test_a_checkpoint_is_read_as_it_was_written(folder: StudyFolder) -> None:
    assert folder.checkpoint(0, "fit") == DATA
    assert folder.checkpoint(0, "other") is None
    assert folder.checkpoint(1, "fit") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data + b"?",
        lambda data: data[:500] + b"?" + data[501:],
        lambda data: b"?" + data[1:],
        lambda data: data[32:],
    ],
)
def test_a_damaged_checkpoint_is_none(folder: StudyFolder, damage: Callable[[bytes], bytes]) -> None:
    (path,) = folder.path.rglob("*.checkpoint")
    path.write_bytes(damage(path.read_bytes()))
    assert folder.checkpoint(0, "fit") is None


def test_checkpoints_of_one_fold_are_deleted(folder: StudyFolder) -> None:
    folder.write_checkpoint(1, "fit", DATA)
    folder.clear_checkpoints(0)
    assert folder.checkpoint(0, "fit") is None
    assert folder.checkpoint(1, "fit") == DATA
