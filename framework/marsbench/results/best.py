"""The best run of a results folder, by its leaderboard."""

from collections.abc import Callable
from pathlib import Path

from marsbench.errors import ResultsError
from marsbench.results.leaderboard import Board, folders_of, leaderboards
from marsbench.results.store import RunFolder


def best_run(
    root: Path,
    corpus: str | None = None,
    protocol: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> RunFolder:
    """The best run of the leaderboard of that corpus and protocol; of several seeds the first.

    Of several leaderboards of one name, as an edited corpus has them, the one with the newest run is taken,
    and `say` gets a line.

    Raises:
        ResultsError: there is none, or several of different names.
    """
    return folders_of(root, newest_board(root, corpus, protocol, say).rows[0])[0]


def newest_board(root: Path, corpus: str | None, protocol: str | None, say: Callable[[str], None]) -> Board:
    """The leaderboard of that corpus and protocol that has a complete run; arguments as `best_run`."""
    boards = [board for board in leaderboards(root, corpus, protocol)[0] if board.rows and board.rows[0].rank]
    if not boards:
        raise ResultsError(f"no complete run in {root.absolute()}")
    if len({(board.corpus, board.protocol) for board in boards}) > 1:
        named = "; ".join(f"{board.corpus}, {board.protocol}, {board.hash[:8]}" for board in boards)
        raise ResultsError(
            f"there are {len(boards)} leaderboards ({named}); give --data and --protocol, or a run"
        )
    newest, *others = sorted(boards, key=lambda board: board.finished, reverse=True)
    if others:
        say(
            f"{len(boards)} leaderboards are named {newest.corpus}, {newest.protocol}: the corpus or the "
            f"protocol was edited. The newest is taken, {_dated(newest)}; --protocol HASH takes another: "
            + ", ".join(map(_dated, others))
        )
    return newest


def _dated(board: Board) -> str:
    """Hash and time of the last run."""
    return f"{board.hash[:8]} of {board.finished[:16].replace('T', ' ')}"


def best_run_or_moved(
    root: Path, data: str | None, protocol: str | None, say: Callable[[str], None]
) -> tuple[RunFolder, str | None]:
    """`best_run`, and the place that its corpus was moved to: `data` if that is a path without a run.

    Raises:
        ResultsError: there is none, or several of different names.
    """
    try:
        return best_run(root, data, protocol, say), None
    except ResultsError:
        place = Path(data or "").expanduser()
        if not data or not place.exists():
            raise
    names = [name for name in (place.name, place.stem) if (root / name).is_dir()]
    try:
        found = best_run(root, names[0] if names else None, protocol, say)
    except ResultsError as error:
        raise ResultsError(
            f"no run was made on {data}; if a corpus was moved there, name its run: RUN --data {data} "
            f"({error})"
        ) from error
    say(f"No run was made on {data}: it is taken for the place that the corpus of {found.path.name} has now.")
    return found, data
