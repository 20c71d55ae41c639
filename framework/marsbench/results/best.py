"""The best run of a results folder, by its leaderboard."""

from collections.abc import Callable
from pathlib import Path

from marsbench.config import Places, each_place, places_phrase
from marsbench.errors import ResultsError
from marsbench.hashing import slug
from marsbench.results.leaderboard import Board, folders_of, leaderboards
from marsbench.results.store import RunFolder


def best_run(
    root: Path,
    corpus: Places = None,
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


def newest_board(root: Path, corpus: Places, protocol: str | None, say: Callable[[str], None]) -> Board:
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
    root: Path, data: Places, protocol: str | None, say: Callable[[str], None]
) -> tuple[RunFolder, Places]:
    """`best_run`, and where its corpus was moved to: `data` if that has a path, and no run was made on it.

    Raises:
        ResultsError: there is none, or several of different names.
    """
    try:
        return best_run(root, data, protocol, say), None
    except ResultsError:
        paths = [Path(place).expanduser() for place in each_place(data) if place]
        if not any(path.exists() for path in paths):
            raise
    named = ([path.name for path in paths], [path.stem for path in paths])
    joined = (slug("-".join(sorted(map(slug, words)))) for words in named)
    names = [name for name in joined if (root / name).is_dir()]
    try:
        found = best_run(root, names[0] if names else None, protocol, say)
    except ResultsError as error:
        options = " ".join(f"--data {place}" for place in each_place(data))
        raise ResultsError(
            f"no run was made on {places_phrase(data)}; if a corpus was moved there, name its run: "
            f"RUN {options} ({error})"
        ) from error
    say(
        f"No run was made on {places_phrase(data)}: it is taken for the place that the corpus of "
        f"{found.path.name} has now."
    )
    return found, data
