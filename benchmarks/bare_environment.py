"""A virtual environment that has numpy, onnxruntime and the packages that are named, and nothing else.

    python benchmarks/bare_environment.py FOLDER [PACKAGE ...]

Its site-packages holds links to what is installed here: those and what they require, and no pip. So it is
made without a network, within a second. The path of its Python is printed.
"""

import argparse
import re
import venv
from importlib.metadata import distribution
from pathlib import Path

WANTED = ("numpy", "onnxruntime")


def required(names: tuple[str, ...]) -> set[str]:
    """Those distributions and all that they require, extras aside."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            lines = [line for line in distribution(name).requires or () if ";" not in line]
            waiting += [re.split(r"[^\w.-]", line)[0] for line in lines]
    return found


def make(folder: Path, more: tuple[str, ...] = ()) -> Path:
    """The environment in `folder`, which must not exist yet, with those packages `more`; its Python.

    Raises:
        PackageNotFoundError: one of the packages is not installed here.
    """
    distributions = [distribution(name) for name in sorted(required((*WANTED, *more)))]
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for each in distributions:
        tops = {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}
        for top in sorted(tops):
            (packages / top).symlink_to(Path(str(each.locate_file(top))))
    return folder / "bin" / "python"


def main() -> None:
    """Read the command line, make the environment, print its Python."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("more", nargs="*", metavar="PACKAGE")
    asked = parser.parse_args()
    print(make(asked.folder, tuple(asked.more)))


if __name__ == "__main__":
    main()
