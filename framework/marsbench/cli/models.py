"""`bench models`."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.output import print_text

app = typer.Typer(no_args_is_help=True, help="Pretrained speech encoders: list, download, add, find.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of an encoder.")]
Sha256 = Annotated[str, typer.Option(metavar="DIGITS", help="Checksum; a file with another one is refused.")]


@app.command("list")
def list_encoders() -> None:
    """List the known encoders, and the files on this machine.

    Examples:
        bench models list
    """
    from rich.text import Text

    from marsbench.features.pretrained import KNOWN, folder, present
    from marsbench.report.terminal.console import out, table

    shown = table("name", "reads", "layers", "MB", "licence", "from", "here", title=f"Encoders in {folder()}")
    here: dict[str, list[Path]] = {}
    for name, path in present():
        here.setdefault(name, []).append(path)
    for known in KNOWN:
        size = "" if known.size is None else f"{known.size / 1e6:.0f}"
        facts = (known.name, known.reads, str(known.n_layers), size, known.licence, known.repository)
        shown.add_row(*map(Text, facts), Text(_marks(here.pop(known.name, []))))
    for name, paths in here.items():
        size = ", ".join(f"{path.stat().st_size / 1e6:.0f}" for path in paths)
        shown.add_row(Text(name), "", "", size, "", "a file", Text(_marks(paths)))
    out.print(shown)


@app.command("fetch")
def fetch(encoder: Name, sha256: Sha256 = "") -> None:
    """Download a known encoder and check it.

    Examples:
        bench models fetch NAME
    """
    from marsbench.features.pretrained import fetch_encoder
    from marsbench.report.terminal.console import TerminalProgress

    with TerminalProgress() as progress:
        file = fetch_encoder(encoder, progress, sha256)
    _tell(file.name, file.path)


@app.command("add")
def add(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx file.")],
    name: Annotated[str | None, typer.Option(help="Name to store it under. [default: the file's]")] = None,
    sha256: Sha256 = "",
) -> None:
    """Store a copy of an encoder's file, downloaded by hand or your own.

    Examples:
        bench models add encoder.onnx --name mine
    """
    from marsbench.features.pretrained import add_encoder

    file = add_encoder(path, name, sha256)
    _tell(file.name, file.path)


@app.command("path")
def path(encoder: Name, sha256: Sha256 = "") -> None:
    """Print where an encoder's file is.

    Examples:
        bench models path NAME
    """
    from marsbench.features.pretrained import find_encoder

    print_text(str(find_encoder(encoder, sha256).path))


def _tell(name: str, path: Path) -> None:
    print_text(
        f"{name} is {path}; try: bench run --features speech_encoder --set speech_encoder.encoder={name}"
    )


def _marks(paths: list[Path]) -> str:
    """The first digits of each file's checksum."""
    return ", ".join(path.stem.rpartition("-")[2][:8] for path in paths)
