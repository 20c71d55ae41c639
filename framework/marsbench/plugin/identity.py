"""Hash of everything local that a plugin's code consists of, so that a changed line is a changed plugin.

Local means: the plugin's own file, the files it imports from the same folder or package (followed through),
and likewise those of every class it derives from. Libraries are covered by their versions instead.
"""

import ast
import hashlib
import inspect
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from marsbench.hashing import digest

_FACE = "marsbench/__init__.py"
"""Only lists what `import marsbench` offers: a name more there changes no result."""


def source_files(file: Path, top: Path) -> frozenset[Path]:
    """`file` and all it imports, directly or not, from below folder `top`; found without importing anything.

    `top` is the folder in which an absolute import of a local module starts: the drop-in folder, or the
    parent of an installed package (then only that package counts as local).
    """
    package = file.relative_to(top).parts[0] if file.parent != top else None
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += _local_imports(current, top, package)
    return frozenset(found)


def source_hash(plugin: type) -> str:
    """sha256 over every local source file, by name, of the class and of all that it derives from."""
    found: dict[str, str] = {}
    for base in plugin.__mro__:
        if base.__module__ != "builtins":
            file = Path(inspect.getfile(base)).resolve()
            top = file.parents[base.__module__.count(".")]
            for path in source_files(file, top):
                found[path.relative_to(top).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    found.pop(_FACE, None)
    return digest(found)


def _local_imports(file: Path, top: Path, package: str | None) -> Iterator[Path]:
    for dotted in _imported_names(file.read_bytes(), file.relative_to(top)):
        if package is None or dotted.split(".")[0] == package:
            yield from _module_files(dotted, top)


@lru_cache(maxsize=1024)  # many plugins share the files of this package
def _imported_names(source: bytes, file: Path) -> tuple[str, ...]:
    """Dotted names that the source of a file, whose path starts in the top folder, may load."""
    nodes = _executed(ast.parse(source))
    return tuple(dict.fromkeys(dotted for node in nodes for dotted in _dotted_names(node, file)))


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield node
            yield from _executed(node)


def _dotted_names(node: ast.AST, file: Path) -> Iterator[str]:
    """Absolute dotted names that an import statement may load; `from a import b` may load `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = file.parts[: -node.level]
            base = ".".join([*parents, *filter(None, [node.module])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _module_files(dotted: str, top: Path) -> Iterator[Path]:
    """The module's file and those of the packages around it, as far as they exist."""
    path = top
    for part in filter(None, dotted.split(".")):
        path /= part
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                yield candidate
