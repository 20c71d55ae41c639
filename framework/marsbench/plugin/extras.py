"""Packages that only some installations have."""

import importlib
from typing import Any

from marsbench.errors import ExportError


def import_extra(module: str, extra: str) -> Any:
    """A module of one of marsbench's extras; raises ExportError where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExportError(
            f"{module.partition('.')[0]} is not installed: pip install 'marsbench[{extra}]'"
        ) from error
