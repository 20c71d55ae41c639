"""Which plugins there are, known by file name alone, and the class behind a name, imported when asked for.

Three doors lead here, each a folder with `datasets/`, `features/` and `models/`: a package named by an entry
point of the group `marsbench.plugins` (the built-in ones come in so), `./plugins`, and `--plugins DIR`.
"""

import ast
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Literal, get_args

from marsbench.errors import PluginError, unknown
from marsbench.hashing import digest, is_jsonable
from marsbench.plugin.base import Plugin
from marsbench.plugin.identity import Identity, identity_of

Kind = Literal["datasets", "features", "models"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GROUP = "marsbench.plugins"
DROP_IN_FOLDER = "plugins"
_IMPORTS_DATASET = re.compile(r"^from marsbench\.plugin(\.base)? import (.*, )?Dataset(,|$)", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """A plugin with its parameters: small, picklable, JSON-able; equal keys mean equal results."""

    name: str
    parameters: dict[str, Any]
    source: str
    """Digest of its code, by `identity_of`."""
    versions: dict[str, str]
    """Versions of the distributions that it declares in `requires`."""

    @property
    def key(self) -> str:
        """Digest of everything that decides what the plugin computes."""
        return digest([self.name, self.parameters, self.source, self.versions])


@dataclass(frozen=True)
class Entry:
    """One plugin, known but not yet imported."""

    kind: Kind
    name: str
    file: Path
    module: str
    """Dotted name to import it by."""
    origin: str
    """Distribution that brought it, or the folder it was dropped into."""
    top: Path
    """Folder in which absolute imports of its local modules start."""

    @property
    def is_drop_in(self) -> bool:
        """Whether it is a loose file rather than part of an installed package."""
        return "." not in self.module

    @property
    def is_builtin(self) -> bool:
        """Whether it comes with marsbench."""
        return self.origin == "marsbench"

    @cached_property
    def summary(self) -> str:
        """First line of its class's docstring, read without importing it."""
        try:
            tree = ast.parse(self.file.read_bytes())
        except (SyntaxError, ValueError, OSError) as error:
            return f"cannot be read: {error}"
        described: list[ast.ClassDef | ast.Module] = [*_public_classes(tree)[::-1], tree]
        texts = [ast.get_docstring(node) for node in described]
        return next((text.splitlines()[0] for text in texts if text), "")

    @property
    def may_recognise(self) -> bool:
        """Whether its class may recognise paths, or be a fallback, as far as its file shows unimported.

        It does not if the framework's `Dataset` is its only base and the file says nothing of that kind.
        """
        try:
            text = self.file.read_text("utf-8")
            if "recognise" in text or "fallback" in text or not _IMPORTS_DATASET.search(text):
                return True
            classes = _public_classes(ast.parse(text))
        except (SyntaxError, ValueError, OSError):
            return True  # importing it tells
        made_with = [part for one in classes for part in (*one.bases, *one.keywords, *one.decorator_list)]
        names = {ast.unparse(part).partition("(")[0] for part in made_with}
        return not classes or not names <= {"Dataset", "dataclass"}

    @property
    def plugin(self) -> type[Plugin]:
        """The plugin class, imported now.

        Raises:
            PluginError: the file cannot be imported, a package it needs is missing, or it does not define
                exactly one public plugin class of its kind.
        """
        return self._loaded[0]

    @property
    def source(self) -> str:
        """Digest of its code, taken when the class is imported; raises PluginError as `plugin` does."""
        return self._loaded[1].digest

    @property
    def unidentified(self) -> type[Plugin]:
        """`plugin` for a question to many of which one is used: no digest of an installed one's code is made.

        That takes longer than the import. Raises PluginError as `plugin` does.
        """
        return self.plugin if self.is_drop_in else self._class

    @cached_property
    def _loaded(self) -> tuple[type[Plugin], Identity]:
        """The class with the identity of the code that it was made from, though its file be edited later."""
        identity = identity_of(self._class, _local_packages(self._class))
        if self.is_drop_in:
            _refuse_mixed_helpers(identity.files, self.top)
        return self._class, identity

    @cached_property
    def _class(self) -> type[Plugin]:
        # Before the plugin: what the base prepares (`share_compiled_code`) must hold while that is imported.
        base: type[Plugin] = getattr(importlib.import_module("marsbench.plugin"), _BASES[self.kind])
        module = _import(self)
        classes = [
            value
            for name, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, base)
            and value.__module__ == module.__name__
            and not name.startswith("_")
        ]
        if len(classes) != 1:
            found = ", ".join(c.__name__ for c in classes) or "none"
            raise PluginError(
                f"{self.file} must define one public {base.__name__} class; found {found} "
                "(the name of a file that is no plugin begins with _)"
            )
        return classes[0]

    def recipe(self, parameters: dict[str, Any]) -> Recipe:
        """The plugin with `parameters` set and all others at their defaults; raises ConfigError."""
        return self.recipe_of(self.plugin.create(parameters))

    def recipe_of(self, plugin: Plugin) -> Recipe:
        """Recipe of an instance."""
        if not is_jsonable(plugin.parameters):
            raise PluginError(f"{self.name}: a parameter survives no JSON; bench plugins check {self.name}")
        versions = {name: _version(self.name, name) for name in plugin.requires}
        return Recipe(self.name, plugin.parameters, self.source, versions)


class Registry:
    """All plugins of the three doors, by name; `refused` says what was not let in, and why.

    A name is used once, whatever the kind: so NAME and NAME.PARAMETER always mean one thing.
    """

    def __init__(self, entries: Iterable[Entry], refused: Iterable[str], folders: tuple[Path, ...]) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self.refused = tuple(refused)
        self.folders = folders

    def entries(self, kind: Kind) -> list[Entry]:
        """Plugins of a kind, by name."""
        return [entry for _, entry in sorted(self._entries.items()) if entry.kind == kind]

    def names(self, kind: Kind) -> list[str]:
        """Names of a kind, sorted."""
        return [entry.name for entry in self.entries(kind)]

    def get(self, kind: Kind, name: str) -> Entry:
        """The plugin of that kind and name.

        Raises:
            PluginError: with the nearest name, or why a file of that name was refused.
        """
        if name in self.names(kind):
            return self._entries[name]
        if name in self._entries:
            there = _SINGULAR[self._entries[name].kind]
            available = ", ".join(self.names(kind))
            raise PluginError(f"'{name}' is a {there}, not a {_SINGULAR[kind]}. Available: {available}.")
        raise self._missing(_SINGULAR[kind], name, self.names(kind))

    def find(self, name: str) -> Entry:
        """The plugin of that name, of whatever kind; raises PluginError."""
        if name in self._entries:
            return self._entries[name]
        raise self._missing("plugin", name, self._entries)

    def refusals(self, name: str) -> list[str]:
        """Why files of that name were refused, though a plugin of that name may be in use."""
        return [reason for reason in self.refused if Path(reason.partition(": ")[0]).stem == name]

    def _missing(self, what: str, name: str, known: Iterable[str]) -> PluginError:
        return PluginError(next(iter(self.refusals(name)), unknown(what, name, known)))


_SINGULAR = {"datasets": "dataset", "features": "feature extractor", "models": "model"}
_BASES = {"datasets": "Dataset", "features": "FeatureExtractor", "models": "Model"}


def drop_in_folders(extra: Iterable[Path] = ()) -> tuple[Path, ...]:
    """`./plugins` and those named by the user, absolute.

    Raises:
        PluginError: a folder that the user named does not exist.
    """
    named = [path.expanduser().absolute() for path in extra]
    for path in named:
        if not holds_plugins(path):
            wanted = ", ".join(KINDS)
            raise PluginError(f"no plugin folder {path}; name one that has some of {wanted} in it")
    return tuple(dict.fromkeys([Path(DROP_IN_FOLDER).absolute(), *named]))


def holds_plugins(folder: Path) -> bool:
    """Whether the folder has a sub-folder for some kind of plugin."""
    return any((folder / kind).is_dir() for kind in KINDS)


@cache
def discover(folders: tuple[Path, ...]) -> Registry:
    """List every plugin by names of files alone; nothing of any plugin is imported."""
    entries: dict[str, Entry] = {}
    refused: list[str] = []
    dropped_in = (entry for folder in folders for entry in _entries_below(folder, str(folder)))
    for entry in [*_installed(refused), *dropped_in]:
        reason = _why_refuse(entry, entries, folders)
        if reason:
            refused.append(f"{entry.file}: {reason}")
        else:
            entries[entry.name] = entry
    return Registry(entries.values(), refused, folders)


def make(kind: Kind, recipe: Recipe, folders: tuple[Path, ...]) -> Plugin:
    """Rebuild the instance that a recipe describes, in any process.

    Raises:
        PluginError: the plugin's code here is not the code that the recipe was made from.
    """
    entry = discover(folders).get(kind, recipe.name)
    if entry.source != recipe.source:
        raise PluginError(f"{entry.file} has changed since the run was planned; start the run again")
    return entry.plugin.create(recipe.parameters)


def _installed(refused: list[str]) -> Iterator[Entry]:
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        spec = _find_package(point)
        if spec is None:
            refused.append(f"{point.value}: entry point '{point.name}' names no package")
            continue
        origin = point.dist.name if point.dist else point.name
        top = _packages[point.value.partition(".")[0]] = Path(spec).resolve().parents[point.value.count(".")]
        yield from _entries_below(Path(spec), origin, top, point.value)


def _find_package(point: EntryPoint) -> str | None:
    try:
        spec = importlib.util.find_spec(point.value)
    except ImportError:
        return None
    return next(iter(spec.submodule_search_locations or ()), None) if spec else None


def _entries_below(folder: Path, origin: str, top: Path | None = None, package: str = "") -> Iterator[Entry]:
    for kind in KINDS:
        for file in sorted((folder / kind).glob("*.py")):
            if not file.name.startswith("_"):
                module = f"{package}.{kind}.{file.stem}" if package else file.stem
                yield Entry(kind, file.stem, file, module, origin, top or file.parent)


def _why_refuse(entry: Entry, earlier: dict[str, Entry], folders: tuple[Path, ...]) -> str | None:
    if not entry.name.isidentifier():
        return f"'{entry.name}' is no Python name; rename the file"
    if other := earlier.get(entry.name):
        return f"'{entry.name}' is already a {_SINGULAR[other.kind]} of {other.origin}; rename the file"
    if entry.is_drop_in and _hides_installed_module(entry.name, folders):
        return f"'{entry.name}' is the name of an installed module; rename the file"
    return None


def _hides_installed_module(name: str, folders: tuple[Path, ...]) -> bool:
    ours = {str(folder / kind) for folder in folders for kind in KINDS} | _appended
    if name in sys.stdlib_module_names:
        return True
    spec = PathFinder.find_spec(name, [path for path in sys.path if path not in ours])
    # A folder without __init__.py is a namespace that any file may share its name with.
    return spec is not None and spec.origin is not None


def _import(entry: Entry) -> Any:
    if entry.is_drop_in:
        _make_importable(entry)
    # Python's cache of compiled files sees no change made within one second; a drop-in is edited often.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, entry.is_drop_in or sys.dont_write_bytecode
    environment = dict(os.environ)
    try:
        return importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        raise PluginError(
            f"{entry.name} needs the package '{error.name}': pip install {error.name}, "
            "or put the file beside it if it is one of yours"
        ) from error
    except (Exception, SystemExit) as error:
        raise PluginError(f"{entry.file} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = before
        for name in {*environment, *os.environ}:
            if environment.get(name) != os.environ.get(name):
                _changed_variables[name] = environment.get(name), os.environ.get(name)


def environment_without_plugins() -> dict[str, str]:
    """This process's environment without what plugins changed as they were imported here."""
    found = dict(os.environ)
    for name, (before, after) in _changed_variables.items():
        if found.get(name) == after:
            found |= {name: before} if before is not None else {}
            if before is None:
                found.pop(name, None)
    return found


def _make_importable(entry: Entry) -> None:
    """Append the drop-in's folder to the END of sys.path: it can hide nothing, and workers do the same."""
    folder = str(entry.file.parent)
    loaded = sys.modules.get(entry.module)
    if loaded is not None and Path(loaded.__file__ or "") != entry.file:
        before = str(Path(loaded.__file__ or "").parent)
        if before not in _appended:
            raise PluginError(f"{entry.file}: '{entry.module}' is loaded from {before}; rename the file")
        # An earlier registry of this process had a plugin of this name in another folder.
        del sys.modules[entry.module]
        sys.path.remove(before)
        _appended.remove(before)
    if folder not in sys.path:
        sys.path.append(folder)
        _appended.add(folder)


def _refuse_mixed_helpers(files: Iterable[Path], folder: Path) -> None:
    """Refuse a plugin that got another folder's helper of the same name: it would not be what was read."""
    for file in files:
        loaded = sys.modules.get(file.stem)
        is_ours = loaded is None or Path(loaded.__file__ or "").resolve() == file
        if file.parent == folder.resolve() and loaded is not None and not is_ours:
            raise PluginError(f"{file}: another '{file.stem}' is loaded from {loaded.__file__}; rename one")


def _local_packages(plugin: type) -> dict[str, Path]:
    """Folders of what a plugin may be made from: packages of plugins, and drop-ins that it derives from."""
    modules = {base.__module__: sys.modules.get(base.__module__) for base in plugin.__mro__}
    folders = {name: Path(getattr(module, "__file__", None) or "").parent for name, module in modules.items()}
    return _packages | {name: folder for name, folder in folders.items() if str(folder) in _appended}


def _public_classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


_packages: dict[str, Path] = {}
"""Folder in which each package of plugins lies, once they were listed."""
_changed_variables: dict[str, tuple[str | None, str | None]] = {}
"""Environment variables that plugins changed as they were imported: before and after."""
_appended: set[str] = set()
"""Folders that this process put on sys.path."""


def _version(plugin: str, distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError as error:
        raise PluginError(
            f"{plugin} needs the package '{distribution}': pip install {distribution}"
        ) from error
