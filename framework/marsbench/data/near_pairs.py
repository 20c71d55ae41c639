"""Find pairs of similar fingerprints: of each clip the nearest among those after it.

Up to `EXHAUSTIVE` clips every fingerprint is compared with every other. Of more clips only those are compared
that share a cell of a hash table, of dozens, so that time grows little faster than the number of clips.

A hash is that of a cross-polytope (Andoni et al., 2015, "Practical and optimal LSH for angular distance"):
the number of the random direction along which a fingerprint is longest, with the sign. Three of them name the
cell of a table. Directions are at right angles to the mean fingerprint, which tells no clip from another;
otherwise cells take two to three times as many comparisons. Their components are integers, so products are
exact, and cells depend neither on the machine nor on the number of threads. The more clips, the more
directions, so that cells stay small, and the more tables, so that two fingerprints share a cell as probably
as before: `EXPECTED`.

A cell with very many clips is divided in the same way, around its own mean. What cannot be divided, such as
thousands of identical fingerprints, is compared in overlapping blocks, and counts as cut off.
"""

import math

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Rows = NDArray[np.int64]
Hits = tuple[Rows, Rows, NDArray[np.float32]]
"""Rows, columns, cosine similarities."""

MIN_COSINE = 0.7
"""Smallest cosine similarity of two fingerprints whose clips are compared."""
EXHAUSTIVE = 50_000
"""Most clips of which every two are compared: 16 CPU seconds, where checking their audio takes minutes."""
EXPECTED = "99.9 % of pairs with a cosine of 0.88, 99 % with 0.8 and 90 % with 0.7"
"""Pairs that share a cell of a table, at least: docs/scale.md has what was measured."""
_BLOCK = 2048
"""Fingerprints multiplied at a time with as many others: 16 MiB of similarities."""
_CELL = 100
"""Fingerprints of a cell, on average."""
_HASHES = 3
"""Hashes that name a cell."""
_TABLES = 20
"""Hash tables if a hash has one direction; their number grows with the power 2/3 of the directions."""
_TABLES_OF_CELL = 4
"""Hash tables that divide a cell."""
_CROWD = 128
"""A cell with more fingerprints than this times the candidates of a clip is divided."""
_DIVISIONS = 2
"""Most times that a cell is divided."""
_NEAR = 0.95
"""A clip with more candidates than it may have, all that similar, is not looked up in further tables."""
_SCALE = 16
"""Standard deviation of components of directions; sums of products stay below 2^24, so float32 is exact."""


def similar_pairs(
    vectors: NDArray[np.int8], group_of: Rows, most: int, is_asked: NDArray[np.bool_]
) -> tuple[list[int], list[int], NDArray[np.bool_]]:
    """Pairs of similar fingerprints from different groups, most similar first, `most` for each clip.

    Args:
        vectors: a fingerprint a row, (n_clips, size).
        group_of: number of each clip's group, (n_clips,).
        most: candidates of a clip among those after it.
        is_asked: clips whose candidates are looked for, (n_clips,).

    Returns:
        The first clip of each pair, the second, which comes later, and which clips have more, (n_clips,).
    """
    nearest = _Nearest(is_asked, most)
    everything = np.arange(len(vectors))
    if len(vectors) <= EXHAUSTIVE:
        search = _Search(vectors, group_of, nearest)
        for top in range(0, len(vectors), _BLOCK):
            search.compare(nearest.open(everything[top : top + _BLOCK]), everything[top:])
    else:
        with threadpool_limits(1, "blas"):  # two threads take six times the CPU time for small matrices
            _Cells(vectors, group_of, nearest).compare_cells(everything, (0,))
    nearest.settle()
    rows, columns, cosines = nearest.hits
    order = np.lexsort((columns, rows, -cosines))
    return rows[order].tolist(), columns[order].tolist(), nearest.is_cut


class _Nearest:
    """The `most` most similar later clips of each, of those that were found so far."""

    def __init__(self, is_asked: NDArray[np.bool_], most: int) -> None:
        self.is_asked, self.most = is_asked, most
        self.least = np.full(len(is_asked), MIN_COSINE, np.float32)
        """Cosine of a clip's last candidate, where it has `most`."""
        self.is_cut = np.zeros(len(is_asked), bool)
        """Whether a clip has more candidates than are kept."""
        self.hits: Hits = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._new: list[Hits] = []
        self._n_new = 0

    def open(self, rows: Rows) -> Rows:
        """Those that are looked up further."""
        return rows[self.is_asked[rows] & ~(self.is_cut[rows] & (self.least[rows] >= _NEAR))]

    def add(self, rows: Rows, columns: Rows, cosines: NDArray[np.float32]) -> None:
        """Note pairs, also such as are known."""
        is_near = cosines >= self.least[rows]
        self.is_cut[rows[~is_near]] = True
        if is_near.any():
            self._new.append((rows[is_near], columns[is_near], cosines[is_near]))
            self._n_new += len(self._new[-1][0])
        if self._n_new > self.most * len(self.least):
            self.settle()

    def settle(self) -> None:
        """Keep what is nearest, each pair once."""
        rows, columns, cosines = (np.concatenate(part) for part in zip(self.hits, *self._new, strict=True))
        self._new, self._n_new = [], 0
        order = np.lexsort((columns, -cosines, rows))
        rows, columns, cosines = rows[order], columns[order], cosines[order]
        is_new = np.ones(len(rows), bool)
        is_new[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
        rows, columns, cosines = rows[is_new], columns[is_new], cosines[is_new]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        self.is_cut[rows[rank >= self.most]] = True
        is_last, is_kept = rank == self.most - 1, rank < self.most
        self.least[rows[is_last]] = cosines[is_last]
        self.hits = rows[is_kept], columns[is_kept], cosines[is_kept]


class _Search:
    """Comparisons of fingerprints."""

    def __init__(self, vectors: NDArray[np.int8], group_of: Rows, nearest: _Nearest) -> None:
        self.vectors, self.group_of, self.nearest = vectors, group_of, nearest
        tops = range(0, len(vectors), _BLOCK)
        squares = [(self.floats(slice(top, top + _BLOCK)) ** 2).sum(axis=1) for top in tops]
        self.lengths = np.sqrt(np.concatenate(squares))

    def floats(self, rows: Rows | slice) -> NDArray[np.float32]:
        return self.vectors[rows].astype(np.float32)

    def compare(self, rows: Rows, columns: Rows) -> None:
        """Note the similar ones among pairs of a row and a later column; both are in order."""
        if not len(rows):
            return
        left = self.floats(rows)
        for start in range(0, len(columns), _BLOCK):
            tile = columns[start : start + _BLOCK]
            cosines = left @ self.floats(tile).T  # exact: sums of small integers
            cosines /= self.lengths[rows, None]
            cosines /= self.lengths[tile]
            is_similar = cosines >= MIN_COSINE
            if np.count_nonzero(is_similar) > self.nearest.most * len(rows):
                self._keep_nearest(cosines, is_similar, rows, tile)
            at_row, at_column = np.nonzero(is_similar)
            firsts, seconds = rows[at_row], tile[at_column]
            asked = (firsts < seconds) & (self.group_of[firsts] != self.group_of[seconds])
            self.nearest.add(firsts[asked], seconds[asked], cosines[at_row, at_column][asked])

    def _keep_nearest(
        self, cosines: NDArray[np.float32], is_similar: NDArray[np.bool_], rows: Rows, columns: Rows
    ) -> None:
        """Where many are similar, leave the `most` most similar of each row, and what equals the last."""
        most = self.nearest.most
        is_similar &= rows[:, None] < columns
        is_similar &= self.group_of[rows, None] != self.group_of[columns]
        cosines[~is_similar] = -1
        if len(columns) > most:
            self.nearest.is_cut[rows[np.count_nonzero(is_similar, axis=1) > most]] = True
            is_similar &= cosines >= np.partition(cosines, -most, axis=1)[:, -most, None]


class _Cells(_Search):
    """Comparisons of fingerprints that share a cell of a hash table."""

    def compare_cells(self, members: Rows, place: tuple[int, ...]) -> None:
        """Divide members and compare those of each cell; `place` is where they are, as a seed."""
        for table, keys in enumerate(self._keys(members, place)):
            order = np.argsort(keys, kind="stable")
            ends = np.flatnonzero(np.diff(keys[order])) + 1
            for cell in np.split(members[order], ends):
                self._compare_cell(cell, len(cell) == len(members), (*place, table))

    def _compare_cell(self, cell: Rows, is_whole: bool, place: tuple[int, ...]) -> None:
        limit = _CROWD * self.nearest.most
        rows = self.nearest.open(cell)
        if (self.group_of[cell] == self.group_of[cell[0]]).all():
            return
        if len(rows) * len(cell) <= limit**2:
            self.compare(rows, cell)
        elif is_whole or len(place) > 1 + _DIVISIONS:
            self._compare_blocks(cell, limit)
        else:
            self.compare_cells(cell, place)

    def _compare_blocks(self, cell: Rows, limit: int) -> None:
        """Compare each with the next ones, of each group, one recording, as many as a clip has candidates."""
        groups = self.group_of[cell]
        order = np.argsort(groups, kind="stable")
        rank = np.arange(len(cell)) - np.searchsorted(groups[order], groups[order])
        cell = np.sort(cell[order[rank < self.nearest.most]])
        if len(cell) > limit + self.nearest.most:
            self.nearest.is_cut[self.nearest.open(cell)] = True
        for start in range(0, len(cell), limit):
            block = cell[start : start + limit + self.nearest.most]
            self.compare(self.nearest.open(block), block)

    def _keys(self, members: Rows, place: tuple[int, ...]) -> NDArray[np.int32]:
        """The members' cells in each hash table, (n_tables, n_members)."""
        n_directions = max(1, round((len(members) / _CELL) ** (1 / _HASHES) / 2))
        is_inner = len(place) > 1
        n_tables = _TABLES_OF_CELL if is_inner else math.ceil(_TABLES * n_directions ** (2 / 3))
        directions = self._directions(members, n_tables * _HASHES * n_directions, place)
        keys = np.empty((n_tables, len(members)), np.int32)
        for top in range(0, len(members), _BLOCK):
            products = self.floats(members[top : top + _BLOCK]) @ directions
            products = products.reshape(-1, n_tables, _HASHES, n_directions)
            longest = np.abs(products).argmax(axis=-1)
            sides = np.take_along_axis(products, longest[..., None], -1)[..., 0] > 0
            numbers = (2 * longest + sides) @ (2 * n_directions) ** np.arange(_HASHES)
            keys[:, top : top + _BLOCK] = numbers.T
        return keys

    def _directions(self, members: Rows, number: int, place: tuple[int, ...]) -> NDArray[np.float32]:
        """Random directions of integers at right angles to the members' mean, (size, number)."""
        tops = range(0, len(members), _BLOCK)
        sums = [self.vectors[members[top : top + _BLOCK]].sum(axis=0, dtype=np.int64) for top in tops]
        mean = np.sum(sums, axis=0).astype(np.float64)
        mean /= max(1.0, math.sqrt((mean**2).sum()))
        directions = np.random.default_rng(place).standard_normal((len(mean), number))
        directions -= mean[:, None] * (mean[:, None] * directions).sum(axis=0)
        return np.rint(_SCALE * directions).astype(np.float32)
