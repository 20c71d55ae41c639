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
from marsbench.results.row import Row

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
    """The best `top` rows of a board by speaker that were run with known speakers, too, as Markdown."""
    lines = [
        "| pipeline | new voices (95 % interval) | known voices, new utterances | known voices, at random |",
        "| :-- | --: | --: | --: |",
    ]
    known = [(row, {view.board.protocol: view for view in row.views}) for row in board.rows]
    both = [(row, views) for row, views in known if "stratified5" in views]
    for row, views in both[:top]:
        low, high = (f"{100 * row.scores[f'macro_f1_{end}']:.1f}" for end in ("low", "high"))
        shown = [_macro_f1(views.get(name)) for name in ("utterance5", "stratified5")]
        cells = [f"{row.features} + {row.model}", f"{_macro_f1(row)} ({low} to {high})", *shown]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _macro_f1(row: Row | None) -> str:
    return "" if row is None else f"{100 * row.scores['macro_f1']:.1f}"


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
