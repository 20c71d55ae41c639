"""Bring the pages that show published runs up to date; run it without arguments.

A page says where: `<!-- board: CORPUS PROTOCOL top N -->`, later `<!-- /board -->`. What stands between them
is replaced by what `bench leaderboard --markdown --top N` prints. A test holds the pages against this.
"""  # noqa: INP001 - a script beside what it reads

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from marsbench.errors import ResultsError, unknown
from marsbench.report.boards import markdown_board
from marsbench.results.leaderboard import Board, leaderboards

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "reference" / "ravdess"
PAGES = (ROOT / "README.md", RESULTS / "README.md")
_MARKED = re.compile(r"(<!-- board: (\S+) (\S+) top (\d+) -->\n)(.*?)(<!-- /board -->)", re.DOTALL)
_OPENING = "<!-- board:"


def refreshed(text: str, boards: Sequence[Board]) -> str:
    """The page with its boards as they are now; raises ResultsError for a marker that fits none."""
    by_name = {f"{board.corpus} {board.protocol}": board for board in boards}

    def table(found: re.Match[str]) -> str:
        opening, corpus, protocol, top, before, closing = found.groups()
        if _OPENING in before:
            raise ResultsError(f"{opening.strip()} has no {closing} behind it")
        if (name := f"{corpus} {protocol}") not in by_name:
            raise ResultsError(unknown("board", name, by_name))
        return f"{opening}\n{markdown_board(by_name[name], int(top))}\n\n{closing}"

    page, n_boards = _MARKED.subn(table, text)
    if n_boards < text.count(_OPENING):
        raise ResultsError(
            "write <!-- board: CORPUS PROTOCOL top N --> alone on a line, later <!-- /board -->"
        )
    return page


def main() -> None:
    """Bring every page up to date."""
    boards, _ = leaderboards(RESULTS)
    for page in PAGES:
        page.write_text(refreshed(page.read_text("utf-8"), boards), "utf-8")


if __name__ == "__main__":
    try:
        main()
    except ResultsError as error:
        sys.exit(str(error))
