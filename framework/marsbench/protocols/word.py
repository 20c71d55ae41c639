"""How a word names a protocol. Apart, so that reading options imports no arrays."""

from pathlib import PurePath

SUFFIXES = (".toml", ".json")


def is_protocol_path(word: str) -> bool:
    """Whether a word for a protocol is a file's path, by its suffix."""
    return PurePath(word).suffix.lower() in SUFFIXES
