"""What names in the source of local modules stand for, followed through imports; nothing is imported."""

import ast
import builtins
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from marsbench import versions
from marsbench.plugin.syntax import Imported, Module, names_in, parse

FRAMEWORK = Path(versions.__file__).resolve().parent
_PLAIN_LIBRARIES = frozenset({"abc", "enum", "typing", "typing_extensions"})
"""A class that derives from one of theirs runs no code of others when it is made."""


@dataclass(frozen=True, eq=False)  # one object a module
class Place:
    """A local module: its file, or its folder if it is a package without a file of its own."""

    path: Path
    top: Path
    """Folder in which its dotted name starts."""
    dotted: str

    @cached_property
    def is_framework(self) -> bool:
        """Whether it is a part of marsbench itself."""
        return self.top == FRAMEWORK.parent and self.dotted.partition(".")[0] == FRAMEWORK.name


class Reference(NamedTuple):
    """What a name stands for.

    With a place: a name in that module, the module itself ("") or all that is in it ("*"). Without one: a
    dotted name in a library, behind "~", or a name of the framework, with the parts that have it.
    """

    place: Place | None
    name: str
    parts: tuple[str, ...] = ()


class References:
    """Local modules, and what names in them stand for.

    Args:
        packages: folders in which local packages and modules lie, by their first name. A single module
            lies in a folder of drop-ins, all of which can import each other.
        stops_at_parts: whether code of the framework that has a version is not looked into.
    """

    def __init__(self, packages: Mapping[str, Path], *, stops_at_parts: bool = True) -> None:
        self._packages = {**packages, FRAMEWORK.name: FRAMEWORK.parent}
        self._folders = {top for name, top in packages.items() if (top / f"{name}.py").is_file()}
        self._stops_at_parts = stops_at_parts
        self._modules: dict[Place, Module] = {}
        self._places: dict[tuple[Path, str], Place | None] = {}
        self._dotted: dict[tuple[object, ...], list[tuple[Reference, list[str]]]] = {}
        self._plain: dict[ast.ClassDef, bool] = {}
        self._under_way: set[tuple[Place, str]] = set()

    @property
    def files(self) -> frozenset[Path]:
        """Files that were read, the framework's aside."""
        return frozenset(place.path for place in self._modules if not place.is_framework)

    def module(self, place: Place) -> Module:
        """The source at a place, taken apart."""
        if place not in self._modules:
            is_package = place.path.name == "__init__.py"
            source = place.path.read_bytes() if place.path.is_file() else b""
            self._modules[place] = parse(
                source, place.dotted if is_package else place.dotted.rpartition(".")[0]
            )
        return self._modules[place]

    def root(self, place: Place) -> Path:
        """The folder of drop-ins, the package or the file that a module belongs to."""
        first = place.top / place.dotted.partition(".")[0]
        return place.top if place.top in self._folders else first if first.is_dir() else place.path

    def find(self, place: Place, dotted: str) -> Place | None:
        """The local module that code at `place` imports by an absolute name; None for one of a library."""
        first = dotted.partition(".")[0]
        is_beside = place.top in self._folders and first not in sys.stdlib_module_names
        tops = filter(None, [place.top if is_beside else None, self._packages.get(first)])
        return next((found for top in tops if (found := self.located(top, dotted))), None)

    def located(self, top: Path, dotted: str) -> Place | None:
        """The module of a dotted name that starts in folder `top`, if there is one."""
        if (top, dotted) not in self._places:
            path = top.joinpath(*dotted.split("."))
            files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
            there = [file for file in files if file.is_file()] or [path] * path.is_dir()
            self._places[top, dotted] = Place(there[0], top, dotted) if there else None
        return self._places[top, dotted]

    def held(self, place: Place, name: str | None = None) -> Reference | None:
        """A module of the framework, or a name in it, that is not looked into."""
        module = place.dotted.partition(".")[2]
        if not place.is_framework:
            return None
        parts = versions.parts_of(module, name) if self._stops_at_parts else []
        is_held = bool(parts) or module in versions.INERT
        return Reference(None, name or "*", tuple(parts)) if is_held else None

    def named(self, place: Place, name: str) -> list[Reference]:
        """What a name in a module may stand for beside a variable; nothing for a built-in name."""
        if (place, name) in self._under_way:  # modules that import each other
            return []
        self._under_way.add((place, name))
        found: list[Reference] = []
        for bound in self.module(place).bindings.get(name, ()):
            found += [Reference(place, name)] if isinstance(bound, int) else self.imported(place, bound)
        for star in self.module(place).stars:
            other = self.find(place, star)
            if other and (there := self.named(other, name)):
                held = self.held(other, name)
                found += [held] if held else [*there, *self.named(other, "__all__")]
        self._under_way.discard((place, name))
        return list(dict.fromkeys(found))

    def imported(self, place: Place, imported: Imported) -> list[Reference]:
        """What an import at `place` binds."""
        target = self.find(place, imported.module)
        if target is None:
            return [Reference(None, "~" + ".".join(filter(None, imported)))]
        return self._attribute(target, imported.name) if imported.name else [Reference(target, "")]

    def _attribute(self, place: Place, name: str) -> list[Reference]:
        """What `name` of a module stands for; all of the module if that cannot be told."""
        if held := self.held(place, name):
            return [held]
        found = self.named(place, name)
        if child := self.located(place.top, f"{place.dotted}.{name}"):
            found.append(Reference(child, ""))
        hidden = self.module(place).typed.get(name)
        if hidden and not found and place.is_framework:  # a package that loads its names when asked for them
            found = self.imported(place, hidden)
        return found or [Reference(place, "*")]

    def dotted(self, place: Place, names: list[str]) -> list[tuple[Reference, list[str]]]:
        """What `a.b.c` in a module may stand for, each with those attributes that no module has."""
        key = (place, *names)
        if key not in self._dotted:
            self._dotted[key] = self._followed(self.named(place, names[0]), names[1:])
        return self._dotted[key]

    def _followed(self, found: list[Reference], attributes: list[str]) -> list[tuple[Reference, list[str]]]:
        ends: list[tuple[Reference, list[str]]] = []
        for reference in found:
            if reference.place and not reference.name and attributes:
                ends += self._followed(self._attribute(reference.place, attributes[0]), attributes[1:])
            elif reference.name.startswith("~"):
                ends.append((Reference(None, ".".join([reference.name, *attributes])), []))
            else:
                ends.append((reference, attributes))
        return ends

    def effects(self, place: Place) -> list[int]:
        """Positions of the statements of a module that may do more than bind names."""
        module = self.module(place)
        derived = [
            position
            for position, node in enumerate(module.statements)
            if isinstance(node, ast.ClassDef) and not self.is_plain(place, node)
        ]
        return sorted({*module.effects, *derived})

    def is_plain(self, place: Place, node: ast.ClassDef) -> bool:
        """Whether making a class, or one derived from it, runs no code of other classes."""
        if node not in self._plain:
            self._plain[node] = True  # for a class that is derived from one of its own name
            bases = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
            has_hook = any(getattr(part, "name", "") == "__init_subclass__" for part in node.body)
            is_known = all(self._is_plain_base(place, names_in(base)) for base in bases)
            self._plain[node] = is_known and not has_hook and not node.keywords
        return self._plain[node]

    def _is_plain_base(self, place: Place, names: list[str]) -> bool:
        ends = self.dotted(place, names) if names else []
        is_builtin = len(names) == 1 and hasattr(builtins, names[0])
        return all(self._is_plain_end(*end) for end in ends) if ends else is_builtin

    def _is_plain_end(self, reference: Reference, attributes: list[str]) -> bool:
        if reference.place is None:
            library = reference.name.removeprefix("~").partition(".")[0]
            return library in _PLAIN_LIBRARIES or not reference.name.startswith("~")
        bound = self.bound(reference)
        classes = [node for node in bound if isinstance(node, ast.ClassDef)]
        is_class = len(classes) == len(bound) and not attributes
        return is_class and all(self.is_plain(reference.place, node) for node in classes)

    def bound(self, reference: Reference) -> list[ast.stmt]:
        """Statements that bind a name of a local module."""
        if reference.place is None:
            return []
        module = self.module(reference.place)
        bindings = module.bindings.get(reference.name, ())
        return [module.statements[position] for position in bindings if isinstance(position, int)]
