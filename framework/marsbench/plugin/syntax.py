"""A module's source taken apart without importing it: what its statements bind, import and do."""

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

_PURE = {
    "abc": "", "collections": "", "contextlib": "", "dataclasses": "", "enum": "", "math": "", "pathlib": "",
    "types": "", "typing": "", "typing_extensions": "", "re": "compile",
    "builtins": "bool bytes classmethod complex dict float frozenset int len list object property range set"
                " slice staticmethod str tuple",
    "functools": "cache cached_property lru_cache partial singledispatch total_ordering wraps",
    "numpy": "arange array float32 float64 geomspace linspace log sqrt",
}  # fmt: skip
"""Modules, and of some only these names, whose calls do nothing but return a value."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_QUIET = (*_FUNCTIONS, ast.Assign, ast.AnnAssign, ast.Pass, getattr(ast, "TypeAlias", ast.Pass))
_ACCESSORS = frozenset({"getter", "setter", "deleter"})
"""Decorators that a property offers."""


class Imported(NamedTuple):
    """What an import binds: the module of an absolute dotted name, or a name in it ("*": all names)."""

    module: str
    name: str | None = None


@dataclass(frozen=True, eq=False)
class Module:
    """One source file; a position counts the statements at its top."""

    package: str
    """Dotted name of the package that it lies in."""
    statements: tuple[ast.stmt, ...]
    bindings: dict[str, list[int | Imported]]
    """By name: positions of the statements that bind it, and what imports bind it to, late ones too."""
    typed: dict[str, Imported]
    """Imports that only type checkers see."""
    loads: tuple[Imported, ...]
    """What is imported along with it, in order."""

    @property
    def stars(self) -> list[str]:
        """Modules of which it imports all names."""
        return [imported.module for imported in self.loads if imported.name == "*"]

    @cached_property
    def stored(self) -> frozenset[str]:
        """Names that something in it binds, at the top or inside, imports aside."""
        return frozenset(
            name for node in self.statements for part in ast.walk(node) for name in _bound_in(part)
        )

    @cached_property
    def imports(self) -> list[int]:
        """Positions of import statements."""
        return [n for n, node in enumerate(self.statements) if isinstance(node, ast.Import | ast.ImportFrom)]

    @property
    def definitions(self) -> list[int]:
        """Positions of all other statements."""
        return [position for position in range(len(self.statements)) if position not in self.imports]

    @cached_property
    def effects(self) -> list[int]:
        """Positions of statements that may do more than bind names, whatever their base classes do."""
        return [position for position in self.definitions if not self._is_quiet(self.statements[position])]

    def is_pure(self, node: ast.AST) -> bool:
        """Whether calling a function, or decorating with it, is known to do nothing but return a value."""
        if isinstance(node, ast.Call):
            return self.is_pure(node.func)
        names = names_in(node)
        if not names:
            return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Constant)  # ", ".join
        if names[0] not in self.bindings and names[-1] in _ACCESSORS:  # @length.setter
            return True
        module, *attributes = [*self._origin(names[0]), *names[1:]]
        only = _PURE.get(module)
        return only is not None and (not only or not {*attributes[:1]}.isdisjoint(only.split()))

    def _origin(self, name: str) -> list[str]:
        bound = self.bindings.get(name, [])
        if len(bound) == 1 and isinstance(bound[0], Imported):
            return ".".join(filter(None, bound[0])).split(".")
        return ["builtins", name] if not bound and hasattr(builtins, name) else ["", name]

    def _is_quiet(self, node: ast.AST) -> bool:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and not all(map(self.is_pure, node.decorator_list)):
            return False
        if isinstance(node, ast.ClassDef):
            is_derived_inside = any(isinstance(part, ast.ClassDef) and part.bases for part in node.body)
            if node.keywords or is_derived_inside or not all(map(self._is_quiet, node.body)):
                return False
        elif not isinstance(node, _QUIET):
            return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)  # a docstring
        return not any(map(self._is_loud, executed([node])))

    def _is_loud(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call):
            return not self.is_pure(node)
        if isinstance(node, ast.Attribute | ast.Subscript):
            return not isinstance(node.ctx, ast.Load)
        shifts = isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift | ast.RShift)
        return shifts or isinstance(node, ast.Await | ast.Yield | ast.YieldFrom)


@lru_cache(maxsize=1024)  # many plugins share a helper
def parse(source: bytes, package: str) -> Module:
    """Take a module of `package`, a dotted name, apart; what is not valid Python is one statement."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        tree = ast.Module([ast.Assert(ast.Constant(source))], [])
    runtime = _Runtime(tree)
    statements = tuple(runtime.visit(tree).body if b"TYPE_CHECKING" in source else tree.body)
    bindings: dict[str, list[int | Imported]] = {}
    for position, statement in enumerate(statements):
        for name in {name for node in executed([statement]) for name in _bound_in(node)}:
            bindings.setdefault(name, []).append(position)
        for node in ast.walk(statement):
            for name, imported in imported_by(node, package):
                bindings.setdefault(name, []).append(imported)
    loads = tuple(found for node in executed(statements) for found in loaded_by(node, package))
    typed = dict(bound for node in runtime.hidden for bound in imported_by(node, package))
    return Module(package, statements, bindings, typed, loads)


class _Runtime(ast.NodeTransformer):
    """Leaves out what only type checkers see."""

    def __init__(self, tree: ast.Module) -> None:
        self.hidden: list[ast.stmt] = []
        bound = [pair for node in ast.walk(tree) for pair in imported_by(node, "")]
        self._flags = {name for name, imported in bound if imported.name == "TYPE_CHECKING"}
        self._modules = {name for name, imported in bound if imported == Imported("typing")}

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """One branch alone, where the condition is TYPE_CHECKING or its opposite."""
        self.generic_visit(node)
        test, hidden, kept = node.test, node.body, node.orelse
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test, hidden, kept = test.operand, node.orelse, node.body
        first, *rest = names_in(test) or [""]
        if not (first in self._flags or (first in self._modules and rest == ["TYPE_CHECKING"])):
            return node
        self.hidden += hidden
        return kept


def imported_by(node: ast.AST, package: str) -> list[tuple[str, Imported]]:
    """Names that an import statement binds, each with what it stands for."""
    if isinstance(node, ast.Import):
        named = [(a.asname, a.name) if a.asname else (a.name.partition(".")[0],) * 2 for a in node.names]
        return [(name, Imported(module)) for name, module in named]
    if isinstance(node, ast.ImportFrom):
        base = absolute(node, package)
        return [(a.asname or a.name, Imported(base, a.name)) for a in node.names if a.name != "*"]
    return []


def loaded_by(node: ast.AST, package: str) -> list[Imported]:
    """Modules that an import statement loads, or names in a package that may be modules."""
    if isinstance(node, ast.Import):
        return [Imported(alias.name) for alias in node.names]
    base = absolute(node, package) if isinstance(node, ast.ImportFrom) else ""
    return [Imported(base, alias.name) for alias in node.names] if isinstance(node, ast.ImportFrom) else []


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Dotted name of the module that `from ... import` names."""
    parents = package.split(".") if node.level else []
    return ".".join(filter(None, [*parents[: len(parents) - node.level + 1], node.module]))


def names_in(node: ast.AST) -> list[str]:
    """["a", "b", "c"] of `a.b.c`; nothing of what does not begin with a name."""
    if isinstance(node, ast.Attribute):
        above = names_in(node.value)
        return [*above, node.attr] if above else []
    return [node.id] if isinstance(node, ast.Name) else []


def executed(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes and all in them that runs with them, in their own scope.

    Not the bodies of functions and classes, nor the targets of comprehensions, nor annotations.
    """
    for node in nodes:
        yield node
        yield from executed(_run_with(node))


def _run_with(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        return [*decorators, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    if isinstance(node, _COMPREHENSIONS):
        parts = [part for generator in node.generators for part in (generator.iter, *generator.ifs)]
        return [*parts, *([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])]
    if isinstance(node, ast.AnnAssign):
        return [node.target, *filter(None, [node.value])]
    return list(ast.iter_child_nodes(node))


def _bound_in(node: ast.AST) -> Iterator[str]:
    """Names that one node binds, imports aside."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        yield from filter(None, [node.name])
    elif isinstance(node, ast.MatchMapping):
        yield from filter(None, [node.rest])
    elif isinstance(node, ast.arg):
        yield node.arg
