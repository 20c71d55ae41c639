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
from pathlib import Path
from typing import Any, NamedTuple

from marsbench import versions
from marsbench.errors import PluginError
from marsbench.hashing import digest
from marsbench.plugin.references import FRAMEWORK, Place, Reference, References
from marsbench.plugin.syntax import Imported, loaded_by, names_in

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


def code_digest(entries: Iterable[str]) -> str:
    """Digest of code of the framework, named as in `versions.Part.code`, and of all that it reaches."""
    reach = _Reach(References({}, stops_at_parts=False))
    for entry in entries:
        module, _, name = entry.partition(":")
        path = FRAMEWORK.joinpath(*module.split("."))
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            dotted = ".".join(file.relative_to(FRAMEWORK.parent).with_suffix("").parts)
            reach.start(FRAMEWORK.parent, dotted.removesuffix(".__init__"), name)
    return reach.digest()


class _Reach:
    """The statements that are reached from where it starts."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._waiting: deque[tuple[Place, int]] = deque()
        self._texts: dict[Place, dict[int, str]] = {}
        """By module and position."""
        self._numbers: dict[Place, int] = {}
        """By the order in which modules are named; what they are called is no part of the digest."""
        self._loaded: set[Place] = set()
        self._acting: list[Place] = []
        """Modules that do more than bind names, in the order in which they are loaded."""
        self._wholes: set[Place] = set()
        self._libraries: set[str] = set()
        self._parts: set[str] = set()
        self._is_literal = False

    def start(self, top: Path, module: str, name: str) -> None:
        """Reach a name of a module below folder `top`; all of the module if no statement binds it."""
        place = self._references.located(top, module)
        if place is None:
            raise PluginError(f"{module} has no source file in {top}")
        self._load(place, [Imported(module)])
        if not self._define(place, name):
            self._wait(place, self._references.module(place).definitions)

    def digest(self) -> str:
        """Digest of everything that is reached."""
        while self._waiting:
            place, position = self._waiting.popleft()
            if position not in self._texts.setdefault(place, {}):
                self._texts[place][position] = self._text(place, position)
        ordered = sorted(self._numbers, key=self._numbers.__getitem__)
        texts = [sorted(self._texts.get(place, {}).items()) for place in ordered]
        code = [[text for _, text in module if text] for module in texts]  # a docstring has none
        acting = [self._numbers[place] for place in self._acting]
        parts = versions.versions_of(*sorted(self._parts))
        files = self.checksums() if self._is_literal else {}
        return digest([code, acting, sorted(self._libraries), parts, files])

    def _text(self, place: Place, position: int) -> str:
        self._number(place)
        form = _Form(self._references, place)
        form.visit(self._references.module(place).statements[position])
        self._is_literal |= form.is_literal and not place.is_framework
        self._load(place, form.loads)
        return "\n".join(token if isinstance(token, str) else self._label(token) for token in form.tokens)

    def _label(self, found: Reference) -> str:
        """Text for what a name stands for, which is reached by that."""
        held = self._references.held(found.place) if found.place else None
        found = held or found
        if found.place is None:
            self._parts.update(found.parts)
            return f"@{found.name}"
        number = self._number(found.place)
        if found.name == "*":
            self._reach_all(found.place)
        else:
            self._define(found.place, found.name)
        return f"@{number}.{found.name}"

    def _define(self, place: Place, name: str) -> bool:
        bound = self._references.module(place).bindings.get(name, ())
        return self._wait(place, [position for position in bound if isinstance(position, int)])

    def _reach_all(self, place: Place) -> None:
        if place in self._wholes:
            return
        self._wholes.add(place)
        module = self._references.module(place)
        self._wait(place, module.definitions)
        for imported in (bound for bindings in module.bindings.values() for bound in bindings):
            for found in [] if isinstance(imported, int) else self._references.imported(place, imported):
                self._label(found if found.name else found._replace(name="*"))

    def _wait(self, place: Place, positions: Iterable[int]) -> bool:
        before = len(self._waiting)
        self._waiting.extend((place, position) for position in positions)
        return len(self._waiting) > before

    def _number(self, place: Place) -> int:
        if place not in self._numbers:
            self._numbers[place] = len(self._numbers)
            if place.is_framework:
                self._wait(place, self._references.effects(place))
        return self._numbers[place]

    def _load(self, place: Place, imports: Iterable[Imported]) -> None:
        """Load modules, with the packages around them, as importing them does."""
        for module, name in imports:
            parts = [*module.split("."), *filter(None, [name])]
            found = [self._references.find(place, ".".join(parts[: n + 1])) for n in range(len(parts))]
            for there in filter(None, found):
                self._load_module(there)
            if not any(found) and parts[0] not in sys.stdlib_module_names:
                self._libraries.add(f"{module}.*" if name == "*" else parts[0])

    def _load_module(self, place: Place) -> None:
        # Modules of the framework count when something in them is reached.
        if place in self._loaded or place.is_framework:
            return
        self._loaded.add(place)
        module = self._references.module(place)
        self._load(place, module.loads)
        if effects := self._references.effects(place):
            self._acting.append(place)
            self._wait(place, sorted([*effects, *module.imports]))

    def checksums(self) -> dict[str, str]:
        """Checksums of all files of the packages and folders that were reached, by name."""
        places = [place for place in (*self._loaded, *self._numbers) if not place.is_framework]
        found: dict[str, str] = {}
        for root, top in {(self._references.root(place), place.top) for place in places}:
            for file in [root] if root.is_file() else root.rglob("*.py"):
                found[file.relative_to(top).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found


class _Form(ast.NodeVisitor):
    """Writes a statement down such that only its meaning counts, neither formatting nor where things lie."""

    def __init__(self, references: References, place: Place) -> None:
        self._references = references
        self._place = place
        self._module = references.module(place)
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

    def _write(self, *values: Any) -> None:
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
        ends = self._references.dotted(self._place, names)
        self.tokens.append("(name")
        for reference, attributes in ends:
            self.is_literal |= _is_reflection(reference)
            self.tokens += [reference if reference.name else reference._replace(name="*"), *attributes]
        if not ends:
            self.is_literal |= names[0] in _RUNS_TEXT
            self.tokens += [Reference(self._place, "*")] if names[0] in _READS_MODULE else []
        if not ends or names[0] in self._module.stored:  # it may be a variable
            self.tokens.append(f"={'.'.join(names)}")
        self.tokens.append(")")

    def visit_Call(self, node: ast.Call) -> None:
        """An import of a module by its name is written as such."""
        given = node.args[0] if len(node.args) == 1 else None
        name = given.value if isinstance(given, ast.Constant) else None
        if isinstance(name, str) and not name.startswith(".") and self._is_import(node.func):
            found = self._references.imported(self._place, Imported(name))
            self.loads.append(Imported(name))
            self.tokens += [there._replace(name="*") if there.place else there for there in found]
        else:
            self.generic_visit(node)

    def _is_import(self, function: ast.expr) -> bool:
        names = names_in(function)
        ends = self._references.dotted(self._place, names) if names else []
        return [reference.name for reference, _ in ends] == ["~importlib.import_module"]

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        loaded = loaded_by(node, self._module.package)
        self.loads += loaded
        for imported in loaded:
            for found in self._references.imported(self._place, imported):
                self.tokens += ["import", found._replace(name="") if found.place else found]

    visit_ImportFrom = visit_Import  # noqa: N815 - the name is the visitor's

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._is_in_class:
            self._write("field", node.target, self._annotation(node.annotation), node.value)
        elif node.value is not None:
            self.visit(ast.Assign([node.target], node.value))

    def _annotation(self, annotation: ast.expr) -> Any:
        """The part of a field's annotation that a dataclass looks at, or all of it if that cannot be told."""
        names = [names for part in ast.walk(annotation) if (names := names_in(part))]
        ends = [end for name in names for end, _ in self._references.dotted(self._place, name)]
        bound = [node for end in ends for node in self._references.bound(end)]
        is_alias = any(not isinstance(node, ast.ClassDef) for node in bound)
        found = [".".join(name) for name in names] + [end.name for end in ends if end.place is None]
        texts = [part.value for part in ast.walk(annotation) if isinstance(part, ast.Constant)]
        markers = {marker for text in (*found, *texts) for marker in _MARKER.findall(str(text))}
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
        self._keeps_annotations = not is_known or not self._references.is_plain(self._place, node)
        self._is_in_class = True
        self._write("class", node.name, node.decorator_list, node.bases, node.keywords)
        self._write(getattr(node, "type_params", []))
        self._write([part for part in node.body if getattr(part, "name", "") != _EXPORT])
        self._keeps_annotations, self._is_in_class = before


def _is_reflection(reference: Reference) -> bool:
    parts = reference.name.removeprefix("~").split(".") if reference.name.startswith("~") else []
    above = {".".join(parts[: n + 1]) for n in range(len(parts))}
    return not above.isdisjoint(_REFLECTION) and above.isdisjoint(_NO_REFLECTION)
