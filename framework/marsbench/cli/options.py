"""Options that several commands share, spelled once."""

from pathlib import Path
from typing import Annotated

import typer


def folder(text: str | Path) -> Path:
    """A path; an empty word, a variable that was not set say, is not taken for the working directory."""
    if not str(text):
        raise typer.BadParameter("a folder is needed")
    return Path(text)


Results = Annotated[Path, typer.Option(help="Folder of runs.", parser=folder, metavar="DIR")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(help="Further folder with datasets/, features/ and models/ in it; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

CriteriaOption = Annotated[
    list[str] | None,
    typer.Option("--criteria", help="accuracy=0.8, macro_f1=0.8 or class_recall=0.75; may be repeated."),
]

DEFAULT_RESULTS = Path("results")
