"""Bring the pages that show published runs up to date; run it without arguments.

A page says where: `<!-- board: CORPUS PROTOCOL top N -->`, later `<!-- /board -->`. What stands between them
is replaced by what `bench leaderboard --markdown --top N` prints; for `<!-- new and known voices: ... -->`
it is a short table of pipelines with their scores on both. A test holds the pages against this.
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
_MARKED = re.compile(
    r"(<!-- (board|new and known voices): (\S+) (\S+) top (\d+) -->\n)(.*?)(<!-- /board -->)", re.DOTALL
)
_OPENING = re.compile(r"<!-- (?:board|new and known voices):")


def refreshed(text: str, boards: Sequence[Board]) -> str:
    """The page with its boards as they are now; raises ResultsError for a marker that fits none."""
    by_name = {f"{board.corpus} {board.protocol}": board for board in boards}

    def table(found: re.Match[str]) -> str:
        opening, kind, corpus, protocol, top, before, closing = found.groups()
        if _OPENING.search(before):
            raise ResultsError(f"{opening.strip()} has no {closing} behind it")
        if (name := f"{corpus} {protocol}") not in by_name:
            raise ResultsError(unknown("board", name, by_name))
        made = markdown_board if kind == "board" else voices_table
        return f"{opening}\n{made(by_name[name], int(top))}\n\n{closing}"

    page, n_boards = _MARKED.subn(table, text)
    if n_boards < len(_OPENING.findall(text)):
        raise ResultsError(
            "write <!-- board: CORPUS PROTOCOL top N --> alone on a line, later <!-- /board -->"
        )
    return page


def voices_table(board: Board, top: int) -> str:
    """The best `top` rows of a board by speaker that are on a board with known speakers, too, as Markdown."""
    lines = [
        "| pipeline | new voices (95 % interval) | known voices | verdict, new voices |",
        "| :-- | --: | --: | :-- |",
    ]
    both = [
        (row, row.views[-1]) for row in board.rows if row.views and not row.views[-1].board.speakers_apart
    ]
    for row, known in both[:top]:
        new, low, high, other = (
            f"{100 * score:.1f}"
            for score in (
                *(row.scores[f"macro_f1{end}"] for end in ("", "_low", "_high")),
                known.scores["macro_f1"],
            )
        )
        lines.append(f"| {row.features} + {row.model} | {new} ({low} to {high}) | {other} | {row.verdict} |")
    return "\n".join(lines)


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
