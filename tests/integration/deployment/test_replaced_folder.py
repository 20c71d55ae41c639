"""A folder that is replaced: whenever the process is killed, the old or the new one is there."""

import errno
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from shutil import rmtree

import pytest

from marsbench import atomic_files
from marsbench.atomic_files import replaced_folder, restore_folder, try_lock
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import golden_samples, is_bundle, read_bundle, write_bundle
from marsbench.plugin.registry import Registry

Exchange = Callable[[Path, Path], bool]
EXCHANGES: list[Exchange] = [atomic_files._exchange, lambda _one, _other: False]
ways = pytest.mark.parametrize("exchange", EXCHANGES, ids=["in one step", "by renames"])
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "shutil.rmtree"}


def write(folder: Path, text: str) -> None:
    with replaced_folder(folder) as new:
        new.mkdir()
        (new / "content").write_text(text)
        (new / "more").write_text(text)


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Whether a copy of this process that is killed at its `number`-th step at files had not yet ended."""
    if not (pid := os.fork()):
        steps = count(1)

        def step(event: str, _values: object) -> None:
            if event in STEPS and next(steps) == number:
                os._exit(9)

        sys.addaudithook(step)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@ways
@pytest.mark.parametrize("number", range(1, 31))
def test_a_process_killed_at_any_step_leaves_the_old_or_the_new_one_and_the_next_export_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: Exchange, number: int
) -> None:
    monkeypatch.setattr(atomic_files, "_exchange", exchange)
    folder = tmp_path / "bundle"
    write(folder, "old")
    was_killed = killed_at(number, lambda: write(folder, "new"))
    if exchange is EXCHANGES[0]:
        assert folder.exists()
    restore_folder(folder)
    content = {(folder / name).read_text() for name in ("content", "more")}
    assert content in ({"old"}, {"new"})
    assert was_killed or content == {"new"}
    write(folder, "newer")
    assert (folder / "content").read_text() == "newer"
    assert list(tmp_path.iterdir()) == [folder]


@ways
@pytest.mark.parametrize("failing", range(1, 4))
def test_an_error_at_any_rename_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: Exchange, failing: int
) -> None:
    folder, numbers, rename = tmp_path / "bundle", count(1), Path.rename
    write(folder, "old")

    def fail(path: Path, target: Path) -> Path:
        if next(numbers) == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_files, "_exchange", exchange)
        patch.setattr(Path, "rename", fail)
        try:
            write(folder, "new")
        except OSError:
            assert (folder / "content").read_text() == "old"
        else:
            assert (folder / "content").read_text() == "new"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_left_aside_is_not_put_back_while_its_process_lives(tmp_path: Path) -> None:
    aside = tmp_path / ".bundle.replaced"
    (aside / "old").mkdir(parents=True)
    lock = try_lock(aside)
    assert lock is not None
    restore_folder(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    lock.release()
    restore_folder(tmp_path / "bundle")
    assert (tmp_path / "bundle").exists()


@ways
def test_a_bundle_is_there_for_the_next_command_after_an_export_was_killed_between_its_renames(
    bundle: Bundle, folder: Path, corpus: CheckedCorpus, registry: Registry, exchange: Exchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(atomic_files, "_exchange", exchange)
    with monkeypatch.context() as patch:
        patch.setattr(atomic_files, "_put_back", lambda *_: None)  # a killed process does nothing any more
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        patch.setattr(Path, "rename", interrupted_after(1))
        try:
            write_bundle(bundle, folder, golden_samples(corpus))
        except KeyboardInterrupt:
            assert not folder.exists()
    assert is_bundle(folder)
    assert read_bundle(folder, registry).labels == bundle.labels
    write_bundle(bundle, folder, golden_samples(corpus))
    assert not [path for path in folder.absolute().parent.iterdir() if path.name.startswith(".")]
    rmtree(folder)


def interrupted_after(n_renames: int) -> Callable[[Path, Path], Path]:
    numbers, rename = count(), Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if next(numbers) == n_renames:
            raise KeyboardInterrupt
        return rename(path, target)

    return interrupted
