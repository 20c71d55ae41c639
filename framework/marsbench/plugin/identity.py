"""What a plugin computes, as a digest of its code: the same however it is written and wherever it lies.

The digest covers the plugin's class and every local definition that it reaches: functions, classes and
constants that reached code names, followed through imports, in the plugin's own file, package or drop-in
folder and in other packages of plugins. Comments, formatting, docstrings, annotations, names of files and
modules, and what only type checkers see are no part of it; nor is the method `onnx_graph`, which exports.

Where it cannot be told what is reached, more is covered rather than less:

- a name of a local variable counts as what an import or a definition of that name stands for too;
- a statement that may do more than bind a name (a call, an unknown decorator, `x[0] = 1`) counts as soon as
  its module is imported;
- a module that is used as a value (`getattr(helper, name)`, `import_module("helper")`), that lacks a name it
  is asked for, or that reads `globals()`, counts as a whole;
- annotations count in classes and functions with an unknown base class or decorator, which may read them;
- code that looks at source, docstrings or annotations, runs text, imports a module whose name it computes, or
  is too deeply nested to be followed, counts with the bytes of every file of its package or folder.

Libraries are covered by their versions (`Plugin.requires`), the framework by its own (`marsbench.versions`).
"""

import ast
import hashlib
import inspect
import re
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple

from marsbench import versions
from marsbench.errors import PluginError
from marsbench.hashing import digest
from marsbench.plugin.references import Imported, Module, Reference, References, loaded_by, names_in

_EXPORT = "onnx_graph"
_UNSEEN = frozenset({"ctx", "kind", "type_comment"})
_ANNOTATIONS = frozenset({"annotation", "returns"})
_MARKER = re.compile(r"\b(?:ClassVar|InitVar|KW_ONLY)\b")
"""Annotations that a dataclass looks at."""
_READS_CODE = frozenset(
    {"__annotations__", "__builtins__", "__doc__", "__globals__", "__subclasses__", "f_globals", _EXPORT}
)
_RUNS_TEXT = frozenset({"__import__", "compile", "eval", "exec"})
_READS_MODULE = frozenset({"dir", "globals", "locals", "vars"})
_REFLECTION = frozenset(
    {
        *("dataclasses.fields", "imp", "importlib", "inspect", "pkgutil", "pydoc", "runpy", "sys.modules"),
        *("typing.get_type_hints", "typing_extensions.get_type_hints", "zipimport"),
    }
)
_NO_REFLECTION = frozenset({"importlib.metadata", "importlib.resources", "importlib.util.find_spec"})


class Identity(NamedTuple):
    """Digest of a plugin's code."""

    digest: str
    files: frozenset[Path]
    """Local files that were read for it."""


def identity_of(plugin: type, packages: Mapping[str, Path] | None = None) -> Identity:
    """Identity of a plugin class.

    Args:
        plugin: the class.
        packages: folders of further packages and modules that count as local, by their first name.
    """
    top = Path(inspect.getfile(plugin)).resolve().parents[plugin.__module__.count(".")]
    return identity_at(top, plugin.__module__, plugin.__name__, packages)


def identity_at(top: Path, module: str, name: str, packages: Mapping[str, Path] | None = None) -> Identity:
    """Identity of a class, from the sources alone.

    Args:
        top: folder in which the dotted name `module` starts.
        module: where the class is defined.
        name: of the class.
        packages: as in `identity_of`.
    """
    references = References({**(packages or {}), module.partition(".")[0]: top})
    reach = _Reach(references)
    try:
        reach.start(top, module, name)
        found = reach.digest()
    except RecursionError:  # an expression of hundreds of terms
        found = digest(reach.checksums())
    return Identity(found, references.files)


class _Reach:
    """The statements that are reached from where it starts."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._waiting: deque[tuple[Module, int]] = deque()
        self._texts: dict[Module, dict[int, str]] = {}
        """By module and position."""
        self._numbers: dict[Module, int] = {}
        """By the order in which modules are named; what they are called is no part of the digest."""
        self._loaded: set[Module] = set()
        self._acting: list[Module] = []
        """Modules that do more than bind names, in the order in which they are loaded."""
        self._wholes: set[Module] = set()
        self._libraries: set[str] = set()
        self._parts: set[str] = set()
        self._is_literal = False

    def start(self, top: Path, dotted: str, name: str) -> None:
        """Reach a name of a module below folder `top`; all of the module if no statement binds it."""
        module = self._references.located(top, dotted)
        if module is None:
            raise PluginError(f"{dotted} has no source file in {top}")
        self._load(module, [Imported(dotted)])
        self._wait(module, module.bound(name) or module.definitions)

    def digest(self) -> str:
        """Digest of everything that is reached."""
        while self._waiting:
            module, position = self._waiting.popleft()
            if position not in self._texts.setdefault(module, {}):
                self._texts[module][position] = self._text(module, position)
        texts = [sorted(self._texts.get(module, {}).items()) for module in self._numbers]
        code = [[text for _, text in module if text] for module in texts]  # a docstring has none
        acting = [self._numbers[module] for module in self._acting]
        parts = versions.versions_of(*sorted(self._parts))
        files = self.checksums() if self._is_literal else {}
        return digest([code, acting, sorted(self._libraries), parts, files])

    def checksums(self) -> dict[str, str]:
        """Checksums of all files of the packages and folders that were reached, by name."""
        modules = [module for module in (*self._loaded, *self._numbers) if not module.is_framework]
        files = {file: module.top for module in modules for file in self._references.files_around(module)}
        return {
            file.relative_to(top).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file, top in files.items()
        }

    def _text(self, module: Module, position: int) -> str:
        self._number(module)
        form = _Form(self._references, module)
        form.visit(module.statements[position])
        self._is_literal |= form.is_literal and not module.is_framework
        self._load(module, form.loads)
        return "\n".join(token if isinstance(token, str) else self._label(token) for token in form.tokens)

    def _label(self, found: Reference) -> str:
        """Text for what a name stands for, which is reached by that."""
        module, name, parts = (found.module and self._references.held(found.module)) or found
        if module is None:
            self._parts.update(parts)
            return f"@{name}"
        number = self._number(module)
        if name == "*":
            self._reach_all(module)
        else:
            self._wait(module, module.bound(name))
        return f"@{number}.{name}"

    def _reach_all(self, module: Module) -> None:
        if module in self._wholes:
            return
        self._wholes.add(module)
        self._wait(module, module.definitions)
        for bound in chain.from_iterable(module.bindings.values()):
            for found in [] if isinstance(bound, int) else self._references.imported(module, bound):
                self._label(found.value)

    def _wait(self, module: Module, positions: Iterable[int]) -> None:
        self._waiting.extend((module, position) for position in positions)

    def _number(self, module: Module) -> int:
        if module not in self._numbers:
            self._numbers[module] = len(self._numbers)
            if module.is_framework:
                self._wait(module, self._references.effects(module))
        return self._numbers[module]

    def _load(self, module: Module, imports: Iterable[Imported]) -> None:
        """Load modules, with the packages around them, as importing them does."""
        for base, name in imports:
            above = _with_those_above(f"{base}.{name}" if name else base)
            found = list(filter(None, (self._references.find(module, dotted) for dotted in above)))
            for there in found:
                self._load_module(there)
            if not found and above[0] not in sys.stdlib_module_names:
                self._libraries.add(f"{base}.*" if name == "*" else above[0])

    def _load_module(self, module: Module) -> None:
        # Modules of the framework count when something in them is reached.
        if module in self._loaded or module.is_framework:
            return
        self._loaded.add(module)
        self._load(module, module.loads)
        if effects := self._references.effects(module):
            self._acting.append(module)
            self._wait(module, sorted([*effects, *module.imports]))


class _Form(ast.NodeVisitor):
    """Writes a statement down such that only its meaning counts, neither formatting nor where things lie."""

    def __init__(self, references: References, module: Module) -> None:
        self._references = references
        self._module = module
        self._keeps_annotations = False
        self._is_in_class = False
        self.tokens: list[str | Reference] = []
        """Text, and what names stand for."""
        self.loads: list[Imported] = []
        """What it imports."""
        self.is_literal = False
        """Whether it may look at the text of code, or at code that it does not name."""

    def generic_visit(self, node: ast.AST) -> None:
        hidden = _UNSEEN if self._keeps_annotations else _UNSEEN | _ANNOTATIONS
        self.tokens.append(f"({type(node).__name__}")
        for name, value in ast.iter_fields(node):
            if name not in hidden and value not in (None, []):
                self._write(name, value)
        self.tokens.append(")")

    def _write(self, *values: object) -> None:
        for value in values:
            if isinstance(value, ast.AST):
                self.visit(value)
            elif isinstance(value, list):
                self.tokens.append("[")
                self._write(*value)
                self.tokens.append("]")
            else:
                self.tokens.append(repr(value))

    def visit_Constant(self, node: ast.Constant) -> None:
        self.is_literal |= isinstance(node.value, str) and node.value in _READS_CODE
        self.tokens.append(f"#{node.value!r}")

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_Pass(self, _node: ast.Pass) -> None:
        pass

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._write_name([node.id])
        else:
            self.is_literal |= node.id in _READS_CODE
            self.tokens.append(f"={node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if names := names_in(node):
            self._write_name(names)
        else:
            self.is_literal |= node.attr in _READS_CODE
            self.generic_visit(node)

    def _write_name(self, names: list[str]) -> None:
        self.is_literal |= not _READS_CODE.isdisjoint(names)
        ends = self._references.dotted(self._module, names)
        self.tokens.append("(name")
        for reference, attributes in ends:
            self.is_literal |= _is_reflection(reference)
            self.tokens += [reference.value, *attributes]
        if not ends:
            self.is_literal |= names[0] in _RUNS_TEXT
            self.tokens += [Reference(self._module, "*")] if names[0] in _READS_MODULE else []
        if not ends or names[0] in self._module.stored:  # it may be a variable
            self.tokens.append(f"={'.'.join(names)}")
        self.tokens.append(")")

    def visit_Call(self, node: ast.Call) -> None:
        """An import of a module by its name is written as such."""
        ends = self._references.dotted(self._module, names_in(node.func))
        given = node.args[0] if len(node.args) == 1 else None
        name = given.value if isinstance(given, ast.Constant) else None
        is_import = [reference.name for reference, _ in ends] == ["~importlib.import_module"]
        if is_import and isinstance(name, str) and not name.startswith("."):
            self.loads.append(Imported(name))
            found = self._references.imported(self._module, Imported(name))
            self.tokens += [reference.value for reference in found]
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        loaded = loaded_by(node, self._module.package)
        self.loads += loaded
        for imported in loaded:
            for found in self._references.imported(self._module, imported):
                self.tokens += ["import", found._replace(name="") if found.module else found]

    visit_ImportFrom = visit_Import  # noqa: N815 - the name is the visitor's

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._is_in_class:
            self._write("field", node.target, self._annotation(node.annotation), node.value)
        elif node.value is not None:
            self.visit(ast.Assign([node.target], node.value))

    def _annotation(self, annotation: ast.expr) -> ast.expr | list[str]:
        """The part of a field's annotation that a dataclass looks at, or all of it if that cannot be told."""
        parts = list(ast.walk(annotation))
        names = [names for part in parts if (names := names_in(part))]
        ends = [end for name in names for end, _ in self._references.dotted(self._module, name)]
        is_alias = any(not isinstance(node, ast.ClassDef) for end in ends for node in end.statements)
        texts = [".".join(name) for name in names] + [end.name for end in ends if end.module is None]
        texts += [str(part.value) for part in parts if isinstance(part, ast.Constant)]
        markers = {marker for text in texts for marker in _MARKER.findall(text)}
        return annotation if is_alias or self._keeps_annotations else sorted(markers)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before = self._keeps_annotations, self._is_in_class
        self._keeps_annotations |= not all(map(self._module.is_pure, node.decorator_list))
        self._is_in_class = False
        self.generic_visit(node)
        self._keeps_annotations, self._is_in_class = before

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - as above

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before = self._keeps_annotations, self._is_in_class
        is_known = all(map(self._module.is_pure, node.decorator_list))
        self._keeps_annotations = not is_known or not self._references.is_plain(self._module, node)
        self._is_in_class = True
        self._write("class", node.name, node.decorator_list, node.bases, node.keywords)
        self._write(getattr(node, "type_params", []))
        self._write([part for part in node.body if getattr(part, "name", "") != _EXPORT])
        self._keeps_annotations, self._is_in_class = before


def _with_those_above(dotted: str) -> list[str]:
    """["a", "a.b", "a.b.c"] of "a.b.c"."""
    return list(accumulate(dotted.split("."), "{}.{}".format))


def _is_reflection(reference: Reference) -> bool:
    above = _with_those_above(reference.name[1:]) if reference.name.startswith("~") else []
    return not _REFLECTION.isdisjoint(above) and _NO_REFLECTION.isdisjoint(above)
