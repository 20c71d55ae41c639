"""Which rows of a leaderboard have no significant difference, so that they share a rank.

The answer is kept in the cache, so that showing a leaderboard again computes nothing.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from marsbench.atomic_files import home, read_checksummed, write_checksummed
from marsbench.errors import DamagedError, ResultsError
from marsbench.hashing import digest
from marsbench.results.row import Row
from marsbench.results.store import RunFolder
from marsbench.versions import versions_of

if TYPE_CHECKING:  # NumPy takes a tenth of a second, which a kept answer does not need
    from marsbench.evaluation.predictions import Predictions

MOST_COMPARED = 40
"""Rows, the best ones, that are compared with each other."""


def with_tie_ranks(
    rows: Sequence[Row], folders_of: Callable[[Row], Sequence[RunFolder]], say: Callable[[str], None]
) -> tuple[list[Row], int]:
    """Rows ranked by groups without a significant difference.

    Args:
        rows: complete ones of one board, best first, ranked by score alone.
        folders_of: gives the runs behind a row, one for each seed.
        say: called with a line for each row whose predictions are damaged.

    Returns:
        The rows, and how many were compared. One whose predictions cannot be read keeps its rank by score,
        and so do those beyond the best `MOST_COMPARED`.
    """
    if len(rows) < 2:
        return list(rows), 0
    compared, behind = rows[:MOST_COMPARED], rows[MOST_COMPARED:]
    ranks = _known_ranks(compared, [folders_of(row) for row in compared], say)
    shown = [
        row if rank is None else row._replace(rank=rank) for row, rank in zip(compared, ranks, strict=True)
    ]
    return [*shown, *behind], sum(rank is not None for rank in ranks)


def _known_ranks(
    rows: Sequence[Row], folders: Sequence[Sequence[RunFolder]], say: Callable[[str], None]
) -> list[int | None]:
    there = [[folder.predictions.exists() for folder in seeds] for seeds in folders]
    compared = [[row.configuration, row.seeds, row.run_id, row.finished] for row in rows]
    key = digest([versions_of("ties"), compared, there])
    kept = home() / "ties" / f"{key[:32]}.json"
    try:
        ranks: list[int | None] = json.loads(read_checksummed(kept))["ranks"]
    except (OSError, DamagedError):
        problems: list[str] = []
        ranks = _tie_ranks(folders, problems.append)
        for problem in problems:
            say(problem)
        if not problems:  # damaged predictions may be written again, and the rows stay the same
            write_checksummed(kept, json.dumps({"ranks": ranks}))
    return ranks


def _tie_ranks(folders: Sequence[Sequence[RunFolder]], say: Callable[[str], None]) -> list[int | None]:
    """Rank of each row, best first; None where predictions cannot be read or are not of most rows' clips."""
    from marsbench.evaluation.significance import differences, tie_groups

    comparable = _comparable(folders, say)
    ranks: list[int | None] = [None] * len(folders)
    if len(comparable) > 1:
        positions = list(comparable)
        found = differences(list(comparable.values()))
        for position, rank in zip(positions, tie_groups(range(len(positions)), found), strict=True):
            ranks[position] = positions[rank - 1] + 1
    return ranks


def _comparable(
    folders: Sequence[Sequence[RunFolder]], say: Callable[[str], None]
) -> dict[int, list["Predictions"]]:
    """Predictions of each row's seeds, by the row's position; those alone that are of most rows' clips."""
    from marsbench.results.predictions import read_predictions

    found: dict[int, list[Predictions]] = {}
    for position, seeds in enumerate(folders):
        try:
            read = [read_predictions(folder, folder.read_run()) for folder in seeds]
        except ResultsError as error:
            if isinstance(error, DamagedError):
                say(f"{seeds[0].path.name} is compared with no other run: {error}")
            continue
        if len({predictions.tested for predictions in read}) == 1:
            found[position] = read
    usual = Counter(read[0].tested for read in found.values()).most_common(1)
    return {position: read for position, read in found.items() if read[0].tested == usual[0][0]}
