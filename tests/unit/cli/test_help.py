"""Help texts of all commands, and what a shell completes."""

import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner

from marsbench.cli.command import Command
from marsbench.cli.main import app

HERE = Path()
ROOT = Path(__file__).parents[3]
COMMANDS: dict[str, Any] = dict(
    runpy.run_path(str(ROOT / "docs" / "cli_reference.py"))["commands"](get_command(app))
)
EXAMPLES = [line for command in COMMANDS.values() for line in command.epilog.splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_what_a_value_is_and_ends_in_examples(name: str) -> None:
    command = COMMANDS[name]
    text = command.get_help(command.context_class(command, info_name=name))
    assert not re.search(r"\b(TEXT|INTEGER|FLOAT|BOOLEAN|DIRECTORY|RANGE)\b|<[^>]*>", text)
    examples = text.partition("\nExamples:\n")[2].splitlines()
    assert examples
    assert all(line.startswith(f"  {name}") for line in examples)


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_a_command_line_of_its_command(line: str) -> None:
    name = max((name for name in COMMANDS if f"{line} ".startswith(f"{name} ")), key=len)
    words = shlex.split(line.partition(" > ")[0].removeprefix(name))
    COMMANDS[name].make_context(name, words)


def test_an_option_without_a_word_of_its_own_has_one_by_its_type() -> None:
    made = Typer()

    @made.command(cls=Command)
    def command(count: int = 1, share: float = 0.5, to: Path = HERE, word: str = "", model: str = "") -> None:
        """Do something."""

    words = ["N", "NUMBER", "PATH", "WORD", "NAME,..."]
    assert [parameter.metavar for parameter in get_command(made).params[: len(words)]] == words


@pytest.fixture
def complete() -> Callable[[str], list[str]]:
    """What a shell offers for the end of a command line."""

    def completed(line: str) -> list[str]:
        words = {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        return CliRunner().invoke(app, env=words, prog_name="bench").stdout.split()

    return completed


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bench run --features functi", ["functionals"]),
        ("bench run --features mfcc,functi", ["mfcc,functionals"]),
        ("bench run --model cnn_ls", ["cnn_lstm"]),
        ("bench search --data dem", ["demo"]),
        ("bench leaderboard --protocol lun", ["luna5"]),
        ("bench run --bad-audio s", ["skip"]),
        ("bench run --tuner kera", ["keras-tuner"]),
        ("bench plugins show functi", ["functionals"]),
        ("bench plugins new feat", ["features"]),
        ("bench data fetch rav", ["ravdess"]),
        ("bench show crossings-", ["crossings-mean-s0-1"]),
        ("bench compare crossings-mean-s0-1 bl", ["blocks-mean-s0-2"]),
        ("bench ensemble crossings-mean-s0-1 bl", ["blocks-mean-s0-2"]),
        ("bench show --results elsewhere o", ["other-mean-s0-3"]),
        ("bench serve wi", ["winner"]),
        ("bench predict below/de", ["below/deeper"]),
        ("bench show --by s", []),
        ("bench show --results missing x", []),
        ("bench predict missing/x", []),
    ],
)
def test_a_shell_completes_values(
    complete: Callable[[str], list[str]], line: str, offered: list[str]
) -> None:
    runs = ("results/a/b/crossings-mean-s0-1", "results/a/b/blocks-mean-s0-2")
    for path in (*runs, "elsewhere/a/b/other-mean-s0-3"):
        Path(path).mkdir(parents=True)
        Path(path, "run.json").touch()
    for path in ("winner", "below/deeper"):
        Path(path).mkdir(parents=True)
        Path(path, "bundle.json").touch()
    Path("windows").mkdir()
    assert complete(line) == offered
