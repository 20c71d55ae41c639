"""Options and a message that several commands share, spelled once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def folder(text: str | Path) -> Path:
    """A path; an empty word, a variable that was not set say, is not taken for the working directory."""
    if not str(text):
        raise typer.BadParameter("a folder is needed")
    return Path(text)


def tell_left_out(lines: Sequence[str]) -> None:
    """Print the last few lines on what is left out, and how many more there are."""
    for line in lines[-_TOLD:]:
        typer.secho(f"left out: {line}", err=True, fg="yellow")
    if len(lines) > _TOLD:
        typer.secho(f"left out: {len(lines) - _TOLD} more", err=True, fg="yellow")


_TOLD = 10


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

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME.PARAMETER=VALUE for a plugin of this run; may be repeated."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of training. [default: 0]")]
BadAudio = Annotated[
    str | None, typer.Option(help="skip bad audio files and name them, or fail. [default: skip]")
]
ObjectiveOption = Annotated[
    str | None, typer.Option(help="macro_f1, accuracy or uar, to be maximised. [default: macro_f1]")
]
Threads = Annotated[int | None, typer.Option(help="Threads that one unit computes with. [default: 1]")]

Workers = Annotated[
    int | None,
    typer.Option(
        help="Worker processes; 0: all in this process, for debugging. [default: as cores and memory allow]"
    ),
]
Cluster = Annotated[
    str | None, typer.Option(help="Dask scheduler to run units on instead, such as tcp://HOST:8786.")
]
UnitTimeout = Annotated[
    str | None, typer.Option(help="Longest time for one unit, such as 90s, 30m or 2h. [default: none]")
]
UnitMemory = Annotated[
    str | None,
    typer.Option(help="Most memory for one unit, such as 4GB. [default: an even share of the machine's]"),
]

DEFAULT_RESULTS = Path("results")
