"""The page's script, for `bench app`, or: streamlit run framework/marsbench/app/main.py -- BUNDLE."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from marsbench.app.page import Options, show
from marsbench.plugin.registry import drop_in_folders


def options(words: Sequence[str]) -> Options:
    """What the words behind `--` ask for."""
    parser = argparse.ArgumentParser("main.py")
    parser.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--plugins", type=Path, action="append", default=[], metavar="DIR")
    found = parser.parse_args(words)
    return Options(found.bundle, found.results, drop_in_folders(found.plugins))


if __name__ == "__main__":
    show(options(sys.argv[1:]))
