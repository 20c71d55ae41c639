"""From the word behind `--data` to a dataset plugin."""

from pathlib import Path
from typing import Any, cast

from marsbench.errors import ConfigError, PluginError, unknown
from marsbench.plugin.dataset import Dataset
from marsbench.plugin.registry import Entry, Registry


def resolve_dataset(registry: Registry, data: str) -> tuple[Entry, dict[str, Any]]:
    """The dataset plugin that `data` names, or that recognises it as a path, with the parameters this fixes.

    Raises:
        ConfigError: neither a dataset nor a path, a path that no dataset recognises, or that several do.
    """
    if data in registry.names("datasets"):
        return registry.get("datasets", data), {}
    path = Path(data).expanduser()
    if not path.exists():
        problem = unknown("dataset", data, registry.names("datasets"))
        raise ConfigError(f"{problem}; and there is no file or folder {path.absolute()}")
    return _recognising(registry, path), {"root": str(path.absolute())}


def _recognising(registry: Registry, path: Path) -> Entry:
    entries = [entry for entry in registry.entries("datasets") if _recognises(entry, path)]
    specific = [entry for entry in entries if not cast("type[Dataset]", entry.plugin).fallback]
    # If nothing recognises it, the fallback says by its own error what it misses.
    found = specific or entries or [entry for entry in registry.entries("datasets") if _is_fallback(entry)]
    if not found:
        raise ConfigError(f"no dataset recognises {path}; name one: --data NAME --set NAME.root={path}")
    if len(found) > 1:
        names = " and ".join(entry.name for entry in found)
        raise ConfigError(f"{path} is recognised by {names}; say --data NAME --set NAME.root={path}")
    return found[0]


def _recognises(entry: Entry, path: Path) -> bool:
    """Whether the dataset does; one that breaks recognises nothing."""
    try:
        return cast("type[Dataset]", entry.plugin).recognises(path)
    except Exception:  # noqa: BLE001 - a stranger's plugin must not keep the others from the path
        return False


def _is_fallback(entry: Entry) -> bool:
    try:
        return cast("type[Dataset]", entry.plugin).fallback
    except PluginError:
        return False
