"""What the README and docs say is tried as it stands there."""

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
# The third is tried by framework/export/test_serving.py.
PLUGIN, PROGRAM, _ = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
DOCS = "".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
COMMANDS = re.findall(r"^(?:.*bin/)?(bench .*?)(?:\s+#.*)?$", README + DOCS, flags=re.MULTILINE)


@pytest.fixture
def plugin(home: Path) -> str:
    """The README's plugin, saved where it says."""
    path = home.parent / "plugins" / "features" / "loudness.py"
    path.parent.mkdir(parents=True)
    path.write_text(PLUGIN)
    return path.stem


def test_the_plugin_is_short() -> None:
    assert len([line for line in PLUGIN.splitlines() if line]) <= 12


def test_the_plugin_passes_its_check(bench: Callable[..., Any], plugin: str) -> None:
    result = bench("plugins", "check", plugin)
    assert result.exit_code == 0, result.stdout


def test_the_plugin_runs_with_the_settings_shown(bench: Callable[..., Any], plugin: str, kit: Path) -> None:
    words = ["--features", plugin, "--model", "svm", "--set", "loudness.block=512"]
    result = bench("run", *words, "--data", "tones", "--plugins", kit)
    assert result.exit_code == 0, result.stderr
    assert "loudness + svm, loudness.block=512" in result.stdout


def test_the_program_runs_and_saves_a_model(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(kit / "datasets", "plugins/datasets")
    exec(PROGRAM.replace('"demo"', '"tones"'), {})  # noqa: S102 - as a reader would; on tones, to be quick
    assert capsys.readouterr().out.split()[0] in {"pass", "fail", "undecided"}
    assert Path("model", "bundle.json").is_file()


def test_ci_runs_the_readmes_test_command() -> None:
    (command,) = re.findall(r"^(python3 .*pytest)$", README, flags=re.MULTILINE)
    plain = command.replace("pip install -c", "pip install -q -c")
    assert plain in (ROOT / ".ci" / "run").read_text("utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shown_is_a_command(bench: Callable[..., Any], command: str) -> None:
    words = [word for word in command.replace("`", " ").split() if word.isalpha() and word.islower()][1:3]
    names = words if words[0] in {"plugins", "data", "protocols", "cache"} else words[:1]
    assert bench(*names, "--help").exit_code == 0


@pytest.mark.parametrize("program", re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL))
def test_every_program_of_the_docs_is_python(program: str) -> None:
    assert ast.parse(program).body
