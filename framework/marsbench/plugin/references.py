"""Local modules, and what names in their source stand for, followed through imports; nothing is imported."""

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from marsbench import versions

FRAMEWORK = Path(versions.__file__).resolve().parent
_PURE = {
    "abc": "", "collections": "", "contextlib": "", "dataclasses": "", "enum": "", "math": "", "pathlib": "",
    "types": "", "typing": "", "typing_extensions": "", "re": "compile",
    "builtins": "bool bytes classmethod complex dict float frozenset int len list object property range set"
                " slice staticmethod str tuple",
    "functools": "cache cached_property lru_cache partial singledispatch total_ordering wraps",
    "numpy": "arange array float32 float64 geomspace linspace log sqrt",
}  # fmt: skip
"""Modules, and of some only these names, whose calls do nothing but return a value."""
_PLAIN_LIBRARIES = frozenset({"abc", "enum", "typing", "typing_extensions"})
"""A class that derives from one of theirs runs no code of others when it is made."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_QUIET = (*_FUNCTIONS, ast.Assign, ast.AnnAssign, ast.Pass, getattr(ast, "TypeAlias", ast.Pass))


class Imported(NamedTuple):
    """What an import binds: the module of an absolute dotted name, or a name in it ("*": all names)."""

    module: str
    name: str | None = None


@dataclass(frozen=True, eq=False)  # one object a module
class Module:
    """A local module: what its statements bind, import and do; a position counts those at its top."""

    path: Path
    """Its file, or its folder if it is a package without a file of its own."""
    top: Path
    """Folder in which its dotted name starts."""
    dotted: str
    source: bytes

    @property
    def is_framework(self) -> bool:
        """Whether it is a part of marsbench itself."""
        return self.top == FRAMEWORK.parent and self.dotted.partition(".")[0] == FRAMEWORK.name

    @property
    def package(self) -> str:
        """Dotted name of the package that it lies in."""
        return self.dotted if self.path.name == "__init__.py" else self.dotted.rpartition(".")[0]

    @cached_property
    def statements(self) -> list[ast.stmt]:
        """Statements at the top of it, without what only type checkers see."""
        try:
            tree = ast.parse(self.source)
        except (SyntaxError, ValueError):  # what is not valid Python is one statement
            return [ast.Assert(ast.Constant(self.source))]
        if b"TYPE_CHECKING" in self.source:
            _Runtime(tree).visit(tree)
        return tree.body

    @cached_property
    def bindings(self) -> dict[str, list[int | Imported]]:
        """By name: positions of the statements that bind it, and what imports bind it to, late ones too."""
        found: dict[str, list[int | Imported]] = {}
        for position, statement in enumerate(self.statements):
            for name in dict.fromkeys(name for node in executed([statement]) for name in _bound_in(node)):
                found.setdefault(name, []).append(position)
            for node in ast.walk(statement):
                for name, imported in imported_by(node, self.package):
                    found.setdefault(name, []).append(imported)
        return found

    def bound(self, name: str) -> list[int]:
        """Positions of the statements that bind a name, imports aside."""
        return [position for position in self.bindings.get(name, ()) if isinstance(position, int)]

    @cached_property
    def seen_imports(self) -> dict[str, Imported]:
        """Names that imports anywhere in it bind, those that only type checkers see included."""
        nodes = ast.walk(ast.parse(self.source))
        return dict(bound for node in nodes for bound in imported_by(node, self.package))

    @cached_property
    def loads(self) -> list[Imported]:
        """What is imported along with it, in order."""
        return [found for node in executed(self.statements) for found in loaded_by(node, self.package)]

    @cached_property
    def stored(self) -> frozenset[str]:
        """Names that something in it binds, at the top or inside, imports aside."""
        parts = (part for node in self.statements for part in ast.walk(node))
        return frozenset(name for part in parts for name in _bound_in(part))

    @property
    def imports(self) -> list[int]:
        """Positions of import statements."""
        return [n for n, node in enumerate(self.statements) if isinstance(node, _IMPORTS)]

    @property
    def definitions(self) -> list[int]:
        """Positions of all other statements."""
        return [n for n, node in enumerate(self.statements) if not isinstance(node, _IMPORTS)]

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
        bound = self.bindings.get(names[0], [])
        if not bound and names[-1] in {"getter", "setter", "deleter"}:  # of a property
            return True
        if not bound and hasattr(builtins, names[0]):
            names = ["builtins", *names]
        elif len(bound) == 1 and isinstance(bound[0], Imported):
            names = [*bound[0].module.split("."), *filter(None, [bound[0].name]), *names[1:]]
        else:
            return False
        only = _PURE.get(names[0])
        return only is not None and (not only or not {*names[1:2]}.isdisjoint(only.split()))

    def _is_quiet(self, node: ast.AST) -> bool:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and not all(map(self.is_pure, node.decorator_list)):
            return False
        if isinstance(node, ast.ClassDef):
            derived = [part for part in node.body if isinstance(part, ast.ClassDef) and part.bases]
            if node.keywords or derived or not all(map(self._is_quiet, node.body)):
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


_module = lru_cache(maxsize=1024)(Module)
"""Many plugins share a helper, which is taken apart once."""


class Reference(NamedTuple):
    """What a name stands for.

    With a module: a name in it, the module itself ("") or all that is in it ("*"). Without one: a dotted name
    in a library, behind "~", or a name of the framework, with the parts that have it.
    """

    module: Module | None
    name: str
    parts: tuple[str, ...] = ()

    @property
    def value(self) -> "Reference":
        """All that is in it, if it is a module; else itself."""
        return self if self.name else self._replace(name="*")

    @property
    def statements(self) -> list[ast.stmt]:
        """Statements that bind it, if it is a name in a module."""
        return [self.module.statements[n] for n in self.module.bound(self.name)] if self.module else []


class References:
    """Local modules, and what names in them stand for.

    Args:
        packages: folders in which local packages and modules lie, by their first name. A single module
            lies in a folder of drop-ins, all of which can import each other.
    """

    def __init__(self, packages: Mapping[str, Path]) -> None:
        self._packages = {**packages, FRAMEWORK.name: FRAMEWORK.parent}
        self._folders = {top for name, top in packages.items() if (top / f"{name}.py").is_file()}
        self._modules: dict[tuple[Path, str], Module | None] = {}
        self._dotted: dict[tuple[object, ...], list[tuple[Reference, list[str]]]] = {}
        self._plain: dict[ast.ClassDef, bool] = {}
        self._under_way: set[tuple[Module, str]] = set()

    @property
    def files(self) -> frozenset[Path]:
        """Files that were read, the framework's aside."""
        found = filter(None, self._modules.values())
        return frozenset(module.path for module in found if not module.is_framework)

    def files_around(self, module: Module) -> list[Path]:
        """Files of the folder of drop-ins or of the package that a module belongs to."""
        package = module.top / module.dotted.partition(".")[0]
        folder = module.top if module.top in self._folders else package
        return list(folder.rglob("*.py")) if folder.is_dir() else [module.path]

    def find(self, module: Module, dotted: str) -> Module | None:
        """The local module that a module imports by an absolute name; None for one of a library."""
        first = dotted.partition(".")[0]
        is_beside = module.top in self._folders and first not in sys.stdlib_module_names
        tops = filter(None, [module.top if is_beside else None, self._packages.get(first)])
        return next((found for top in tops if (found := self.located(top, dotted))), None)

    def located(self, top: Path, dotted: str) -> Module | None:
        """The module of a dotted name that starts in folder `top`, if there is one."""
        if (top, dotted) not in self._modules:
            path = top.joinpath(*dotted.split("."))
            files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
            file = next((file for file in files if file.is_file()), None)
            found = _module(file, top, dotted, file.read_bytes()) if file else None
            self._modules[top, dotted] = found or (_module(path, top, dotted, b"") if path.is_dir() else None)
        return self._modules[top, dotted]

    def held(self, module: Module, name: str | None = None) -> Reference | None:
        """A module of the framework, or a name in it, that is not looked into."""
        if not module.is_framework:
            return None
        below = module.dotted.partition(".")[2]
        parts = versions.parts_of(below, name)
        return Reference(None, name or "*", tuple(parts)) if parts or below in versions.INERT else None

    def named(self, module: Module, name: str) -> list[Reference]:
        """What a name in a module may stand for beside a variable; nothing for a built-in name."""
        if (module, name) in self._under_way:  # modules that import each other
            return []
        self._under_way.add((module, name))
        found: list[Reference] = []
        for bound in module.bindings.get(name, ()):
            found += [Reference(module, name)] if isinstance(bound, int) else self.imported(module, bound)
        for star in (imported.module for imported in module.loads if imported.name == "*"):
            other = self.find(module, star)
            if other and (there := self.named(other, name)):
                held = self.held(other, name)
                found += [held] if held else [*there, *self.named(other, "__all__")]
        self._under_way.discard((module, name))
        return list(dict.fromkeys(found))

    def imported(self, module: Module, imported: Imported) -> list[Reference]:
        """What an import in a module binds."""
        target = self.find(module, imported.module)
        if target is None:
            return [Reference(None, "~" + ".".join(filter(None, imported)))]
        return self._attribute(target, imported.name) if imported.name else [Reference(target, "")]

    def _attribute(self, module: Module, name: str) -> list[Reference]:
        """What `name` of a module stands for; all of the module if that cannot be told."""
        if held := self.held(module, name):
            return [held]
        found = self.named(module, name)
        if child := self.located(module.top, f"{module.dotted}.{name}"):
            found.append(Reference(child, ""))
        if module.is_framework and not found and name not in module.bindings:
            # A package that loads its names when they are asked for imports them for type checkers.
            hidden = module.seen_imports.get(name)
            found = self.imported(module, hidden) if hidden else []
        return found or [Reference(module, "*")]

    def dotted(self, module: Module, names: list[str]) -> list[tuple[Reference, list[str]]]:
        """What `a.b.c` in a module may stand for, each with those attributes that no module has."""
        key = (module, *names)
        if key not in self._dotted:
            found = self.named(module, names[0]) if names else []
            self._dotted[key] = self._followed(found, names[1:])
        return self._dotted[key]

    def _followed(self, found: list[Reference], attributes: list[str]) -> list[tuple[Reference, list[str]]]:
        ends: list[tuple[Reference, list[str]]] = []
        for reference in found:
            if reference.module and not reference.name and attributes:
                ends += self._followed(self._attribute(reference.module, attributes[0]), attributes[1:])
            elif reference.name.startswith("~"):
                ends.append((Reference(None, ".".join([reference.name, *attributes])), []))
            else:
                ends.append((reference, attributes))
        return ends

    def effects(self, module: Module) -> list[int]:
        """Positions of the statements of a module that may do more than bind names."""
        classes = [(n, node) for n, node in enumerate(module.statements) if isinstance(node, ast.ClassDef)]
        return sorted({*module.effects, *(n for n, node in classes if not self.is_plain(module, node))})

    def is_plain(self, module: Module, node: ast.ClassDef) -> bool:
        """Whether making a class, or one derived from it, runs no code of other classes."""
        if node not in self._plain:
            self._plain[node] = True  # for a class that is derived from one of its own name
            bases = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
            has_hook = any(getattr(part, "name", "") == "__init_subclass__" for part in node.body)
            is_known = all(self._is_plain_base(module, names_in(base)) for base in bases)
            self._plain[node] = is_known and not has_hook and not node.keywords
        return self._plain[node]

    def _is_plain_base(self, module: Module, names: list[str]) -> bool:
        ends = self.dotted(module, names)
        is_builtin = len(names) == 1 and hasattr(builtins, names[0])
        return all(self._is_plain_end(*end) for end in ends) if ends else is_builtin

    def _is_plain_end(self, reference: Reference, attributes: list[str]) -> bool:
        module, name, _ = reference
        if module is None:
            return not name.startswith("~") or name[1:].partition(".")[0] in _PLAIN_LIBRARIES
        bound = reference.statements
        return not attributes and all(isinstance(n, ast.ClassDef) and self.is_plain(module, n) for n in bound)


class _Runtime(ast.NodeTransformer):
    """Leaves out what only type checkers see."""

    def __init__(self, tree: ast.Module) -> None:
        bound = [pair for node in ast.walk(tree) for pair in imported_by(node, "")]
        self._flags = [[name] for name, imported in bound if imported.name == "TYPE_CHECKING"]
        self._flags += [[name, "TYPE_CHECKING"] for name, imported in bound if imported == Imported("typing")]

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """One branch alone, where the condition is TYPE_CHECKING or its opposite."""
        self.generic_visit(node)
        if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not):
            return node.body if names_in(node.test.operand) in self._flags else node
        return node.orelse if names_in(node.test) in self._flags else node


def imported_by(node: ast.AST, package: str) -> list[tuple[str, Imported]]:
    """Names that an import statement binds, each with what it stands for."""
    if isinstance(node, ast.Import):
        named = [(a.asname, a.name) if a.asname else (a.name.partition(".")[0],) * 2 for a in node.names]
        return [(name, Imported(module)) for name, module in named]
    if isinstance(node, ast.ImportFrom):
        loaded = zip(node.names, loaded_by(node, package), strict=True)
        return [(a.asname or a.name, imported) for a, imported in loaded if a.name != "*"]
    return []


def loaded_by(node: ast.AST, package: str) -> list[Imported]:
    """Modules that an import statement loads, or names in a package that may be modules."""
    if isinstance(node, ast.Import):
        return [Imported(alias.name) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parents = package.split(".") if node.level else []
        base = ".".join(filter(None, [*parents[: len(parents) - node.level + 1], node.module]))
        return [Imported(base, alias.name) for alias in node.names]
    return []


def names_in(node: ast.AST) -> list[str]:
    """["a", "b", "c"] of `a.b.c`; nothing of what does not begin with a name."""
    if isinstance(node, ast.Attribute):
        above = names_in(node.value)
        return [*above, node.attr] if above else []
    return [node.id] if isinstance(node, ast.Name) else []


def executed(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes and all in them that runs with them, in their scope: no bodies of functions or classes."""
    for node in nodes:
        yield node
        yield from executed(_run_with(node))


def _run_with(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
        return [
            *getattr(node, "decorator_list", []),
            *node.args.defaults,
            *filter(None, node.args.kw_defaults),
        ]
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
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
