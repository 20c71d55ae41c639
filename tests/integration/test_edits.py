"""Which edits of the framework and its plugins make finished runs, stored features and bundles count no more.

Each case edits a copy of both packages and runs the same command with it.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import marsbench
import marsbench_plugins

PACKAGES = [Path(str(package.__file__)).parent for package in (marsbench, marsbench_plugins)]
COMPUTING = ("data", "evaluation", "features", "plugin", "protocols", "results")
DRIVER = """
import json, sys
from pathlib import Path
from typer.testing import CliRunner
from marsbench.cli.main import app
for words in json.loads(sys.argv[1]):
    words = [next(Path("results").glob("*/*/*")).name if word == "RUN" else word for word in words]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    print(result.output)
"""
Bench = Callable[..., str]


def copied(to: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(package, to / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return to


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def bench(code: Path, work: Path, *commands: list[str]) -> str:
    """What `bench` prints for some commands, with the code of a folder."""
    environment = os.environ | {"PYTHONPATH": str(code), "MARSBENCH_HOME": str(work / "home")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        cwd=work,
        env=environment | {"MARSBENCH_WORKERS": "0", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(kit: Path, *words: str) -> list[str]:
    grid = ["--features", "functionals", "--model", "svm", "--trials", "0"]
    return ["run", "--plugins", str(kit), "--data", "tones", *grid, *words]


def runs(work: Path) -> set[str]:
    return {path.name for path in (work / "results" / "tones" / "stratified5").iterdir()}


@pytest.fixture(scope="module")
def ran(work: Path, kit: Path) -> set[str]:
    """The run that was made, and exported, before any edit."""
    code = copied(work / "code")
    printed = bench(code, work, run(kit), ["export", "RUN", "--output", "bundle", "--plugins", str(kit)])
    assert "functionals: 0 of 30 clips from the store" in printed
    return runs(work)


class _Rewritten(ast.NodeTransformer):
    """Other docstrings, and other annotations where they compute nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Expr(ast.Constant("Other words.")) if is_text else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = ast.Name("object")
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if "Var" not in ast.unparse(node.annotation):
            node.annotation = ast.Name("object")
        return node


def rewrite(file: Path) -> None:
    """The same code with other docstrings and annotations, formatted otherwise, without comments."""
    is_record = "pydantic" in file.read_text("utf-8")
    tree = ast.parse(file.read_text("utf-8"))
    text = ast.unparse(tree if is_record else _Rewritten().visit(tree))
    file.write_text(f"# Another comment.\n\n\n{text}\n", "utf-8")


def move(code: Path, old: str, new: str) -> None:
    """Move a module and adapt all that name it."""
    (code / new).parent.mkdir(parents=True, exist_ok=True)
    (code / old).rename(code / new)
    names = [name.removesuffix(".py").replace("/", ".") for name in (old, new)]
    for file in code.rglob("*.py"):
        text = file.read_text("utf-8")
        for prefix in ("", "marsbench."):  # versions.py names modules from there on
            was, is_now = (name.removeprefix(prefix) for name in names)
            text = re.sub(rf"\b{re.escape(was)}\b", is_now, text)
        file.write_text(text, "utf-8")


def test_rewording_formatting_and_moving_makes_nothing_anew(
    tmp_path: Path, work: Path, ran: set[str], kit: Path
) -> None:
    code = copied(tmp_path / "elsewhere" / "code")
    folders = [code / "marsbench_plugins", *(code / "marsbench" / part for part in COMPUTING)]
    for file in [file for folder in folders for file in folder.rglob("*.py")]:
        rewrite(file)
    move(code, "marsbench_plugins/spectrum.py", "marsbench_plugins/dsp/transform.py")
    move(code, "marsbench_plugins/framing.py", "marsbench_plugins/excerpt.py")
    move(code, "marsbench/plugin/sklearn.py", "marsbench/plugin/scikit/model.py")
    move(code, "marsbench/plugin/search_space.py", "marsbench/plugin/space.py")
    clip = next((work / "home" / "tones").glob("*.wav"))
    predict = ["predict", "bundle", str(clip), "--plugins", str(kit)]
    printed = bench(code, work, run(kit), run(kit, "--seed", "1"), predict)
    assert "functionals + svm: 5 of 5 folds are finished already" in printed
    assert "functionals: all 30 clips from the store" in printed, "the second run's"
    assert "has changed" not in printed
    (second,) = runs(work) - ran
    shutil.rmtree(work / "results" / "tones" / "stratified5" / second)


COMPUTED = [
    ("marsbench_plugins/models/svm.py", "default=10.0", "default=20.0", "all 30"),
    ("marsbench_plugins/spectrum.py", "TOP_DB = 80.0", "TOP_DB = 70.0", "0 of 30"),
    ("marsbench_plugins/framing.py", "np.rint(", "np.floor(", "0 of 30"),
    ("marsbench/versions.py", '"fit": Part(\n        1,', '"fit": Part(\n        2,', "all 30"),
]


@pytest.mark.parametrize(
    "edit",
    [*COMPUTED[:2], *(pytest.param(edit, marks=pytest.mark.slow) for edit in COMPUTED[2:])],
    ids=[edit[0] for edit in COMPUTED],
)
def test_a_changed_constant_makes_another_run(
    edit: tuple[str, str, str, str], tmp_path: Path, work: Path, ran: set[str], kit: Path
) -> None:
    path, old, new, stored = edit
    code = copied(tmp_path / "code")
    text = (code / path).read_text("utf-8")
    assert old in text
    (code / path).write_text(text.replace(old, new), "utf-8")
    printed = bench(code, work, run(kit))
    assert f"functionals: {stored} clips from the store" in printed
    (made,) = runs(work) - ran
    shutil.rmtree(work / "results" / "tones" / "stratified5" / made)
