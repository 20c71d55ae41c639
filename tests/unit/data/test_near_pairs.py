import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.data import near_pairs
from marsbench.data.duplicates import SIZE
from marsbench.data.near_pairs import similar_pairs

Prints = NDArray[np.int8]
Pairs = list[tuple[int, int]]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash tables for any number of clips."""
    monkeypatch.setattr(near_pairs, "EXHAUSTIVE", 0)


def to_bytes(vectors: NDArray[np.float64]) -> Prints:
    return np.asarray(np.rint(vectors * (127 / np.abs(vectors).max(axis=1))[:, None]), np.int8)


def spread(number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Made-up fingerprints of different recordings: cosines of 0.15 or so."""
    strength = np.geomspace(1, 0.1, SIZE)
    return np.asarray(strength * (rng.standard_normal((number, SIZE)) + 0.4))


def with_copies(n_clips: int, n_copies: int, cosine: float, seed: int) -> tuple[Prints, Pairs]:
    """Fingerprints in random order, and pairs of them with a cosine."""
    rng = np.random.default_rng(seed)
    sources, others, rest = (spread(number, rng) for number in (n_copies, n_copies, n_clips - 2 * n_copies))
    sources /= np.linalg.norm(sources, axis=1)[:, None]
    others -= (others * sources).sum(axis=1)[:, None] * sources
    others /= np.linalg.norm(others, axis=1)[:, None]
    copies = cosine * sources + np.sqrt(1 - cosine**2) * others
    order = rng.permutation(n_clips)
    place = np.argsort(order)[: 2 * n_copies].reshape(2, n_copies).T
    vectors = np.concatenate([to_bytes(part) for part in (sources, copies, rest)])
    return vectors[order], sorted((min(pair), max(pair)) for pair in place.tolist())


def search(vectors: Prints, groups: NDArray[np.int64], most: int) -> tuple[list[int], list[int], bool]:
    """First and second clip of each pair, and whether none was cut off."""
    rows, columns, is_cut = similar_pairs(vectors, groups, most, np.ones(len(vectors), bool))
    return rows, columns, not is_cut.any()


def pairs_of(vectors: Prints) -> tuple[Pairs, bool]:
    rows, columns, is_all = search(vectors, np.arange(len(vectors)), 8)
    return list(zip(rows, columns, strict=True)), is_all


@pytest.mark.usefixtures("tables")
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 99), cosine=st.floats(0.88, 0.99))
def test_hash_tables_find_pairs_as_similar_as_copies_and_no_others(seed: int, cosine: float) -> None:
    vectors, planted = with_copies(2_000, 60, cosine, seed)
    found, is_all = pairs_of(vectors)
    assert is_all
    assert sorted(found) == planted


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(("cosine", "least"), [(0.71, 0.8), (0.8, 0.97)])
def test_of_less_similar_pairs_most_are_found_and_none_that_comparing_all_does_not_find(
    cosine: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, planted = with_copies(2_000, 400, cosine, 1)
    found, _ = pairs_of(vectors)
    assert len(set(found) & set(planted)) >= least * len(planted)
    monkeypatch.setattr(near_pairs, "EXHAUSTIVE", len(vectors))
    every, _ = pairs_of(vectors)
    assert set(found) <= set(every)
    assert found == [pair for pair in every if pair in set(found)]  # in the same order


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("crowd", [16, 128])
def test_pairs_do_not_depend_on_the_order_of_clips(crowd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_pairs, "_CROWD", crowd)
    monkeypatch.setattr(
        near_pairs, "_CELL", 4_000
    )  # cells have 200 clips: with the lesser crowd, many are divided
    vectors, _ = with_copies(1_500, 300, 0.75, 2)
    order = np.random.default_rng(0).permutation(len(vectors))
    found, again = pairs_of(vectors)[0], pairs_of(vectors[order])[0]
    assert {frozenset(order[[*pair]].tolist()) for pair in again} == {frozenset(pair) for pair in found}


@pytest.mark.parametrize("most", [1, 8])
@pytest.mark.parametrize("n_groups", [1, 3, 700])
def test_of_identical_fingerprints_each_has_the_next_ones_of_other_groups(
    n_groups: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.repeat(spread(1, np.random.default_rng(0)), 700, axis=0)
    groups = np.arange(700) % n_groups
    every = search(to_bytes(vectors), groups, most)
    monkeypatch.setattr(near_pairs, "EXHAUSTIVE", 0)
    monkeypatch.setattr(near_pairs, "_CROWD", 4)
    rows, columns, is_all = search(to_bytes(vectors), groups, most)
    assert is_all == (n_groups == 1)
    assert all(groups[row] != groups[column] for row, column in zip(rows, columns, strict=True))
    if n_groups != 3:
        assert (rows, columns, is_all) == every


@pytest.mark.usefixtures("tables")
def test_every_one_of_many_similar_fingerprints_is_connected_and_a_limit_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_pairs, "_CROWD", 4)
    rng = np.random.default_rng(0)
    crowd = spread(1, rng) + 0.3 * spread(500, rng)  # cosines of 0.9 or so
    found, is_all = pairs_of(np.concatenate([to_bytes(crowd), to_bytes(spread(200, rng))]))
    assert not is_all
    assert max(row for row, _ in found) < 500
    assert len({row for row, _ in found}) >= 490  # all but the last have later ones
    assert max(np.bincount([row for row, _ in found])) == 8


@pytest.mark.usefixtures("tables")
def test_copies_are_found_in_a_cell_that_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, planted = with_copies(2_000, 100, 0.95, 3)
    monkeypatch.setattr(near_pairs, "_CELL", 4_000)  # two cells for a hash, so eight for all
    monkeypatch.setattr(near_pairs, "_CROWD", 12)
    assert sorted(pairs_of(vectors)[0]) == planted


def test_blocks_find_what_one_product_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).integers(-126, 127, (50, SIZE)).astype(np.int8)
    vectors[40], vectors[7] = vectors[3] + 1, vectors[6]
    whole = search(vectors, np.arange(50), 8)
    monkeypatch.setattr(near_pairs, "_BLOCK", 8)
    assert search(vectors, np.arange(50), 8) == whole
    assert sorted(zip(*whole[:2], strict=True)) == [(3, 40), (6, 7)]


@pytest.mark.parametrize("block", [16, 2048])
def test_of_many_like_prints_each_clip_has_a_few_candidates(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_pairs, "_BLOCK", block)
    rng = np.random.default_rng(0)
    vectors = (100 + rng.integers(-9, 9, (60, SIZE))).astype(np.int8)
    vectors[50] = vectors[4]
    rows, columns, is_all = search(vectors, np.arange(60), 8)
    assert not is_all
    assert (rows[0], columns[0]) == (4, 50)
    assert [rows.count(row) for row in range(60)] == [min(8, 59 - row) for row in range(60)]


@pytest.mark.parametrize("block", [8, 64])
@pytest.mark.parametrize("n_like", [7, 8, 9, 20])
def test_one_clip_with_more_like_it_than_candidates_is_told_from_one_with_fewer(
    n_like: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_pairs, "_BLOCK", block)
    floats = np.random.default_rng(0).integers(-40, 41, (60, SIZE)).astype(np.float32)
    floats[30 : 30 + n_like] += 1.2 * floats[2]  # like one clip, not like one another
    vectors = np.rint(floats).astype(np.int8)
    rows, columns, is_all = search(vectors, np.arange(60), 8)
    assert (set(rows), len(columns), is_all) == ({2}, min(8, n_like), n_like <= 8)
    assert search(vectors, np.arange(60), 64)[2]
