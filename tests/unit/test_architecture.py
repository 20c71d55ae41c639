"""The layers of CONTRIBUTING.md, held against the imports, also late ones and those for type checkers."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FRAMEWORK = Path(__file__).parents[2] / "framework" / "marsbench"
LAYERS = [
    {"errors", "hashing", "versions"},
    {"progress"},
    {"environment", "atomic_files"},
    {"options"},
    {"data"},
    {"config"},
    {"plugin"},
    {"protocols"},
    {"features"},
    {"evaluation"},
    {"results"},
    {"execution"},
    {"planning"},
    {"tuning"},
    {"runner"},
    {"automl", "deployment"},
    {"report"},
    {"api", "app"},
    {"cli"},
    {"sklearn"},
]
FLOOR = {part: floor for floor, parts in enumerate(LAYERS) for part in parts}
FILES = sorted(FRAMEWORK.rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            base = node.module or ""
            is_package = (FRAMEWORK.parent / base.replace(".", "/")).is_dir()
            yield from (f"{base}.{alias.name}" for alias in node.names) if is_package else [base]


def part_of(dotted: str) -> str:
    return dotted.split(".")[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(FRAMEWORK).as_posix())
def test_a_file_imports_only_from_its_own_part_or_from_below(file: Path) -> None:
    own = file.relative_to(FRAMEWORK).with_suffix("").parts[0]
    names = {name for name in imported(file) if name.startswith("marsbench.") and own != "__init__"}
    above = {name for name in names if part_of(name) != own and FLOOR[part_of(name)] >= FLOOR[own]}
    assert above == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(FRAMEWORK).as_posix())
def test_the_framework_imports_no_built_in_plugin(file: Path) -> None:
    assert not [name for name in imported(file) if name.split(".")[0] == "marsbench_plugins"]


def module_of(file: Path) -> str:
    return ".".join(["marsbench", *file.relative_to(FRAMEWORK).with_suffix("").parts]).removesuffix(
        ".__init__"
    )


def test_no_module_imports_itself_by_way_of_others_not_even_late() -> None:
    # A package's own `__init__` only lists names that are loaded when asked for.
    modules = {module_of(file): file for file in FILES if file.name != "__init__.py"}
    graph = {
        name: {module for dotted in imported(file) for module in (dotted, dotted.rpartition(".")[0])}
        & (modules.keys() - {name})
        for name, file in modules.items()
    }
    while graph:
        leaves = {name for name, needed in graph.items() if not needed & graph.keys()}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {name: needed for name, needed in graph.items() if name not in leaves}
