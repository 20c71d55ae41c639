"""Which rows of a leaderboard the data cannot tell apart.

The answer is kept in the cache, so that showing a leaderboard again computes nothing.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from marsbench.errors import DamagedError, ResultsError
from marsbench.files import digest, home, read_sealed, write_sealed
from marsbench.results.rows import Row
from marsbench.results.store import RunFolder

MOST_COMPARED = 40
"""Rows, the best ones, that are compared with each other."""


def with_tie_ranks(rows: Sequence[Row], folders: Sequence[Sequence[RunFolder]]) -> tuple[list[Row], int]:
    """Rows whose ranks are those of tie groups.

    Args:
        rows: complete ones of one board, best first, ranked by score alone.
        folders: the runs behind each row, one a seed.

    Returns:
        The rows, and how many were compared. One whose predictions cannot be read keeps its rank by score,
        and so do those beyond the best `MOST_COMPARED`.
    """
    if len(rows) < 2:
        return list(rows), 0
    compared, behind = rows[:MOST_COMPARED], rows[MOST_COMPARED:]
    ranks = _known_ranks(compared, folders[:MOST_COMPARED])
    shown = [
        row if rank is None else row._replace(rank=rank) for row, rank in zip(compared, ranks, strict=True)
    ]
    return [*shown, *behind], sum(rank is not None for rank in ranks)


def _known_ranks(rows: Sequence[Row], folders: Sequence[Sequence[RunFolder]]) -> list[int | None]:
    key = digest([_sources(), [[row.configuration, row.seeds, row.run_id, row.finished] for row in rows]])
    kept = home() / "ties" / f"{key[:32]}.json"
    try:
        ranks: list[int | None] = json.loads(read_sealed(kept))["ranks"]
    except (OSError, DamagedError):
        ranks = _tie_ranks(folders)
        write_sealed(kept, json.dumps({"ranks": ranks}))
    return ranks


def _sources() -> list[str]:
    """Answers of other tests are not this one's."""
    package = Path(__file__).parents[1]
    names = ("evaluation/paired.py", "evaluation/intervals.py", "results/comparison.py", "results/ties.py")
    return [(package / name).read_text("utf-8") for name in names]


def _tie_ranks(folders: Sequence[Sequence[RunFolder]]) -> list[int | None]:
    """Rank of each row, best first; None where predictions cannot be read or are not of the same clips."""
    from marsbench.evaluation.paired import Contender, differences, tie_groups
    from marsbench.results.comparison import contender_of, panel_of, tables_of

    contenders: dict[int, Contender] = {}
    first: RunFolder | None = None
    for position, seeds in enumerate(folders):
        try:
            reference, *tables = tables_of([first or seeds[0], *seeds])
        except ResultsError:
            continue
        if first is None:
            first, panel = seeds[0], panel_of(reference)
        contenders[position] = contender_of(tables)
    ranks: list[int | None] = [None] * len(folders)
    if len(contenders) > 1:
        positions = list(contenders)
        found = differences(panel, list(contenders.values()))
        for position, rank in zip(positions, tie_groups(range(len(positions)), found), strict=True):
            ranks[position] = positions[rank - 1] + 1
    return ranks
