"""What all pictures share."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from marsbench.files import write_atomically


def plain(text: str) -> str:
    """Text as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure atomically; raises StorageError if it cannot be written."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
