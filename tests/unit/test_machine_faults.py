"""What is this machine's fault is no plugin's: told in one line, never recorded, tried again."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.atomic_files import intact, read_record, write_checksummed
from marsbench.data.audio_validation import examine
from marsbench.errors import PluginError, StorageError, raise_machine_fault, telling_machine_faults
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import attempt, failure
from marsbench.runner.job import Job

Bench = Callable[..., Any]
NUMBERS = (*("ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "EFBIG", "ENOMEM", "EIO", "EAGAIN", "ESTALE"),)
codes = pytest.mark.parametrize("code", [getattr(errno, name) for name in NUMBERS], ids=NUMBERS)
SYSTEM = ("--model", "troubled", "--set", "troubled.trouble=system", "--data", "tones")


def met(code: int, name: str = "some/file") -> OSError:
    return OSError(code, os.strerror(code), name)


def caused_by(error: Exception) -> Exception:
    outer = PluginError("it cannot be imported")
    outer.__cause__ = error
    return outer


def met_while_handling(error: Exception) -> Exception:
    outer = RuntimeError("nothing was saved")
    outer.__context__ = error
    return outer


@codes
@pytest.mark.parametrize("wrapped", [lambda error: error, caused_by, met_while_handling])
def test_an_error_of_the_machine_is_one_line_with_the_place_and_what_to_do(
    code: int, wrapped: Callable[[Exception], Exception]
) -> None:
    with pytest.raises(StorageError) as raised:
        failure(wrapped(met(code)))
    line = str(raised.value)
    assert line.startswith(f"{os.strerror(code)}: some/file; ")
    assert line.endswith(", then run the same command again")
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        OSError("Can't write data (errno = 28, error message = 'No space left on device')"),
        ImportError("libgomp.so.1: cannot open shared object file: Too many open files"),
        RuntimeError("can't start new thread"),
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
        MemoryError(),
        BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_libraries_make_of_such_an_error_is_recognised(error: Exception) -> None:
    with pytest.raises(StorageError, match="run the same command again"), telling_machine_faults():
        raise error


def raised_alone(code: int) -> Exception:
    outer = met_while_handling(met(code))
    outer.__suppress_context__ = True  # by `from None`
    return outer


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "its-own.txt"),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "its-own.txt"),
        ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
        OSError("no number"),
        ValueError("memory"),
        SystemExit(3),
        raised_alone(errno.ENOSPC),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_is_the_plugins_own(error: BaseException) -> None:
    raise_machine_fault(error)
    assert failure(error).kind == type(error).__name__


def test_an_array_that_no_machine_could_hold_is_the_plugins_fault() -> None:
    found = attempt(lambda _: np.empty(10**17), lambda *_: None)
    assert isinstance(found, Failure)
    assert "Unable to allocate" in found.message


@pytest.fixture
def typed(bench: Bench, kit: Path) -> Bench:
    return lambda *words: bench(*words, "--plugins", kit)


def assert_one_line(result: Any, text: str) -> None:
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith(("bench:", "Traceback"))]
    assert text in line


@codes
def test_a_fold_that_meets_it_is_not_recorded_and_the_same_command_tries_again(
    typed: Bench, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    run = ("run", "--features", "crossings", *SYSTEM, "--protocol", "holdout80", "--trials", "0")
    monkeypatch.setenv("KIT_ERRNO", str(code))
    assert_one_line(typed(*run), f"crossings + troubled, fold 1: {os.strerror(code)}: its-file; ")
    assert not [*Path("results").rglob("*.failed.json"), *Path("results").rglob("run.json")]
    monkeypatch.delenv("KIT_ERRNO")
    assert typed(*run).exit_code == 0


def test_it_is_no_failed_trial_either(typed: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ("run", "--features", "blocks", *SYSTEM, "--protocol", "holdout80", "--trials", "2")
    monkeypatch.setenv("KIT_ERRNO", str(errno.EMFILE))
    assert_one_line(typed(*run), "Too many open files")
    monkeypatch.delenv("KIT_ERRNO")
    assert typed(*run).exit_code == 0
    assert not [*Path("results").rglob("*.failed.json")]
    assert "failed" not in {
        trial["state"]
        for path in Path("results").rglob("study/fold-*.json")
        for trial in read(path)["trials"]
    }


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_a_search_drops_no_pipeline_for_it(typed: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    search = ("search", "--features", "crossings", *SYSTEM, "--time-budget", "20s", "--protocol", "holdout80")
    monkeypatch.setenv("KIT_ERRNO", str(errno.ENOSPC))
    assert_one_line(typed(*search), "No space left on device: its-file")
    assert not [*Path("results").rglob("*.failed.json")]
    (record,) = Path("results").rglob("search.json")
    assert read(record)["looked"] is None


@pytest.mark.parametrize("gone", ["*.f32", "*.json", "*"])
def test_features_that_vanish_during_a_run_are_one_line_and_extracted_again(
    typed: Bench, home: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    run = ("run", "--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--trials", "0")
    opened = Job.open

    def vanish(job: Job, retry_failed: bool) -> bool:
        for path in home.glob(f"features/*/{gone}"):
            path.unlink()
        return opened(job, retry_failed)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "open", vanish)
        result = typed(*run)
    if result.exit_code:  # what is mapped or read already is not missed
        assert_one_line(result, "run the same command again to extract them again")
    assert gone == "*.json" or result.exit_code
    assert not [*Path("results").rglob("*.failed.json")]
    assert typed(*run).exit_code == 0


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_audio_that_vanishes_or_changes_before_its_features_are_there_is_one_line(
    typed: Bench, home: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    run = ("run", "--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--trials", "0")
    announce = Job.announce

    def disturb(job: Job) -> None:
        for path in home.rglob("*.wav"):
            shutil.move(path, f"{path}.old") if change == "gone" else path.write_bytes(b"RIFF")
        announce(job)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "announce", disturb)
        result = typed(*run)
    expected = {"gone": "can be read no more: no such file", "changed": "changed during the run"}
    assert_one_line(result, expected[change])
    assert not [*Path("results").rglob("run.json")]


@codes
def test_a_record_that_cannot_be_read_at_the_moment_is_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "fold-0.failed.json"
    write_checksummed(path, Failure(kind="A", message="b").model_dump_json())

    def fail(path: Path) -> bytes:
        raise met(code, str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(StorageError, match=os.strerror(code)):
            intact(path, print, lambda path: read_record(path, Failure))
    assert read_record(path, Failure).kind == "A"


def test_audio_that_cannot_be_read_at_the_moment_is_not_bad_audio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")

    def fail(path: Path) -> bytes:
        raise met(errno.EMFILE, str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(StorageError, match=r"Too many open files: .*a\.wav"):
        examine(path)
