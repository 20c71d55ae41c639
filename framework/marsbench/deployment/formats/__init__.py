"""Model formats of bundles, one module each; a module's name is the format's name.

Listing the names imports none of them. See `marsbench.deployment.model_format` for what a module defines.
"""

from pkgutil import iter_modules


def format_names() -> tuple[str, ...]:
    """Names of the formats, the default first."""
    names = sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))
    return tuple(sorted(names, key=lambda name: name != DEFAULT_FORMAT))


DEFAULT_FORMAT = "plugin"
"""What the model's own plugin saves."""
