"""Several leaderboards of one protocol at once: pipelines by their ranks on several corpora."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from marsbench.config import Criteria
from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.results.leaderboard import Board, leaderboards
from marsbench.results.row import Row

LEAST_CORPORA = 6
"""For a test: of fewer, even a pipeline that is the best on each may be so by chance, 2 / 2 ** 5 > 5 %."""


@dataclass(frozen=True)
class Contender:
    """One configuration on every board."""

    rows: tuple[Row | None, ...]
    """Its row of each board, None where it has no complete run."""
    ranks: tuple[float, ...] = ()
    """Among the configurations that are on all boards; empty for one that is not."""
    wins: int = 0
    """Significant differences, over boards and other ranked configurations."""
    losses: int = 0
    ties: int = 0
    """Pairs without a significant difference; those that no test compared are in none of the three."""

    @property
    def row(self) -> Row:
        """One of its rows: what it is made of."""
        return next(row for row in self.rows if row is not None)

    @property
    def mean_rank(self) -> float | None:
        """Over the boards; None if it is not on all."""
        return fmean(self.ranks) if self.ranks else None


@dataclass(frozen=True)
class AcrossBoards:
    """The boards of one protocol, one for each corpus."""

    protocol: str
    boards: tuple[Board, ...]
    contenders: tuple[Contender, ...]
    """Best mean rank first; behind them, by corpora, those that are not on all boards."""
    notes: tuple[str, ...] = ()
    p_equal: float | None = None
    """p of all being equally good; None for too few corpora or configurations."""
    critical_difference: float | None = None
    """Mean ranks that differ by more are different at 5 %."""

    @property
    def n_ranked(self) -> int:
        """How many configurations are on all boards."""
        return sum(bool(one.ranks) for one in self.contenders)

    def best_on(self, place: int) -> list[Row]:
        """The first row of a board, and those that have no significant difference from it."""
        rows = self.boards[place].rows
        return [rows[0], *(row for row in rows[1:] if row.is_level_with(rows[0]))]


def across_boards(
    root: Path, protocol: str | None = None, criteria: Criteria | None = None
) -> tuple[AcrossBoards, list[str]]:
    """The leaderboards of one protocol side by side, and lines on what is left out of them.

    Args:
        root: folder of results.
        protocol: its name; None for the only one that has boards of several corpora.
        criteria: what every run is graded by.

    Raises:
        ResultsError: no boards of two corpora under one protocol, or under several.
    """
    boards, left_out = leaderboards(root, None, protocol, criteria)
    complete = [board for board in boards if board.rows and board.rows[0].rank is not None]
    name, of_name = _one_protocol(complete, protocol)
    newest: dict[str, Board] = {}
    notes: list[str] = []
    for board in sorted(of_name, key=lambda board: board.finished):
        if before := newest.get(board.corpus):
            notes.append(
                f"{board.corpus} has several boards, since it was edited: the newest, {board.hash[:8]}, "
                f"stands here, not {before.hash[:8]}"
            )
        newest[board.corpus] = board
    shown = tuple(newest[corpus] for corpus in sorted(newest))
    return _compared(name, shown, tuple(notes)), left_out


def _one_protocol(boards: Sequence[Board], asked: str | None) -> tuple[str, list[Board]]:
    """The protocol that has boards of several corpora, and these boards."""
    corpora: dict[str, set[str]] = {}
    for board in boards:
        corpora.setdefault(board.protocol, set()).add(board.corpus)
    several = [name for name, found in corpora.items() if len(found) > 1]
    if len(several) > 1:
        raise ResultsError(
            f"--across shows one protocol, and {len(several)} have boards of several corpora "
            f"({', '.join(sorted(several))}); name one: --protocol NAME"
        )
    if not several:
        found = "; ".join(f"{name}: {', '.join(sorted(those))}" for name, those in sorted(corpora.items()))
        of = f" under {asked}" if asked else ""
        raise ResultsError(
            f"--across needs complete runs on two corpora or more{of}, under one protocol; there are "
            f"{found or 'none'}"
        )
    return several[0], [board for board in boards if board.protocol == several[0]]


def _compared(protocol: str, boards: tuple[Board, ...], notes: tuple[str, ...]) -> AcrossBoards:
    by_board = [
        {row.configuration: row for row in board.rows if row.ranked_score is not None} for board in boards
    ]
    names = dict.fromkeys(name for rows in by_board for name in rows)
    rows_of = {name: tuple(rows.get(name) for rows in by_board) for name in names}
    ranked = {
        name: [row for row in rows if row is not None] for name, rows in rows_of.items() if None not in rows
    }
    contenders = [_contender(name, ranked, rows_of[name]) for name in names]
    contenders.sort(key=_place)
    across = AcrossBoards(protocol, boards, tuple(contenders), notes)
    if len(boards) < LEAST_CORPORA or across.n_ranked < 2:
        return across
    import numpy as np

    from marsbench.evaluation.significance import friedman

    ranks = np.array([one.ranks for one in contenders if one.ranks]).T
    return AcrossBoards(protocol, boards, tuple(contenders), notes, *friedman(ranks))


def _contender(name: str, ranked: dict[str, list[Row]], rows: tuple[Row | None, ...]) -> Contender:
    if name not in ranked:
        return Contender(rows)
    own = ranked[name]
    pairs = [
        (mine, other)
        for one, others in ranked.items()
        if one != name
        for mine, other in zip(own, others, strict=True)
        if mine.letters is not None and other.letters is not None
    ]
    different = [(mine, other) for mine, other in pairs if not mine.is_level_with(other)]
    wins = sum(_goodness(mine) > _goodness(other) for mine, other in different)
    return Contender(
        rows=rows,
        ranks=tuple(
            _rank(row, [others[place] for others in ranked.values()]) for place, row in enumerate(own)
        ),
        wins=wins,
        losses=len(different) - wins,
        ties=len(pairs) - len(different),
    )


def _rank(row: Row, rows: Sequence[Row]) -> float:
    """From 1; equal scores share the mean of their ranks."""
    own = _goodness(row)
    better, equal = (sum(test(_goodness(one)) for one in rows) for test in (own.__lt__, own.__eq__))
    return better + (equal + 1) / 2


def _goodness(row: Row) -> float:
    """The ranking metric, higher for better rows."""
    return (row.ranked_score or 0.0) * (1 if METRICS[RANKED_BY].higher_is_better else -1)


def _place(one: Contender) -> tuple[float, int, float, str]:
    there = [row for row in one.rows if row is not None]
    mean = one.mean_rank or float("inf")
    return mean, -len(there), -fmean(map(_goodness, there)), one.row.configuration
