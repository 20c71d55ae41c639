import csv
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from marsbench.cli import output
from marsbench.cli.main import main
from marsbench.errors import cleaned, is_plain
from marsbench.report.terminal import console
from marsbench.results.store import RunFolder

Bench = Callable[..., Any]
HOSTILE = "a\x1b[31m\x1b]0;owned\x07\x9b2J\u202eb\x7f\u2028c"


@given(st.text())
def test_cleaned_text_is_as_long_and_plain_and_is_left_alone_if_it_was_plain(text: str) -> None:
    assert len(cleaned(text)) == len(text)
    assert is_plain(cleaned(text))
    assert not is_plain(text) or cleaned(text) == text


@pytest.fixture
def hostile_run(finished_run: Callable[..., RunFolder]) -> None:
    settings = {"tiny.id": HOSTILE}
    finished_run("tiny-tiny-s0-000001", 0.5, settings=settings)
    failed = finished_run("tiny-tiny-s0-000002", None, settings=settings)
    run = failed.read_run()
    failures = [run.failures[0].model_copy(update={"message": HOSTILE})]
    failed.write_run(run.model_copy(update={"failures": failures}))


@pytest.mark.parametrize(
    "words",
    [
        ("leaderboard",),
        ("leaderboard", "--csv"),
        ("leaderboard", "--json"),
        ("leaderboard", "--markdown"),
        ("show", "000001", "--json"),
        ("show", "000002"),
        ("show", HOSTILE),
        ("run", f"{HOSTILE}.toml"),
        ("run", "--features", HOSTILE, "--model", "svm"),
        ("predict", HOSTILE, HOSTILE),
        ("data", "check", HOSTILE),
        (HOSTILE,),
        ("run", f"--{HOSTILE}"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("hostile_run")
def test_what_a_terminal_would_obey_is_only_shown(bench: Bench, words: tuple[str, ...]) -> None:
    done = bench(*words)
    printed = done.stdout.replace("\r\n", "\n") + done.stderr
    assert all(is_plain(line) for line in printed.split("\n"))
    if "--json" in words:
        assert json.loads(done.stdout)


def test_a_csv_cell_keeps_its_commas_quotes_and_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_csv([["a,b", 'c"d', 0.5, None, Path("e\x1bf")]])
    assert next(csv.reader(io.StringIO(capsys.readouterr().out))) == ["a,b", 'c"d', "0.5", "", "e\u241bf"]


def test_styles_of_the_cells_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = console.new_console()
    with shown.capture() as caught:
        shown.print(console.table("h", rows=[[Text.assemble("\x1b[0m ", ("red", "red"), "!")]]))
    assert "\u241b[0m \x1b[31mred\x1b[0m!" in caught.get()


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_errors_are_coloured_only_where_that_is_wanted(
    environment: dict[str, str], is_coloured: bool, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(console, "err", console.new_console(stderr=True))
    assert ("\x1b[" in bench("show", "nothing").stderr) == is_coloured
    assert "\x1b[" not in bench("show", "--nothing").stderr


def called(monkeypatch: pytest.MonkeyPatch, stdout: Any, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(console, "out", console.new_console())  # one that met a closed pipe stays silent
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


COMMANDS = [
    ("leaderboard",), ("leaderboard", "--csv"), ("leaderboard", "--json"), ("leaderboard", "--markdown"),
    ("show", "000002"), ("--help",), ("--version",), ("plugins", "list"), ("protocols", "list", "--json"),
]  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.usefixtures("hostile_run")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_output_to_a_full_disk_ends_in_one_line(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        assert called(monkeypatch, full, *words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: No space left on device; free some space")


@pytest.mark.usefixtures("hostile_run")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_output_to_a_closed_pipe_ends_without_a_word(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(BrokenPipeError), os.fdopen(writing, "w") as closed:
        assert called(monkeypatch, closed, *words) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("hostile_run")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_an_encoding_lacks_is_replaced(
    words: tuple[str, ...], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO()
    stdout = io.TextIOWrapper(stream, encoding=encoding, errors="strict")
    assert called(monkeypatch, stdout, *words) == 0
    assert stream.getvalue().decode(encoding)


def test_without_standard_output_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, None, "protocols", "list") == 0
