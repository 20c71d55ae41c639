from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import CorpusError
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.inner_splits import inner_folds, validation_split
from marsbench.protocols.leakage import UTTERANCE
from marsbench.protocols.splitting import first_duplicates, joint_value

Make = Callable[..., CheckedCorpus]
Names = tuple[str, ...]
NAMES: list[Names] = [(), ("speaker",), ("statement",), ("speaker", "statement"), UTTERANCE]


def statements(take: int) -> dict[str, str]:
    """Two takes of each of two statements."""
    return {"statement": str(take // 2)}


def values(made: CheckedCorpus, names: Names, rows: Iterable[int]) -> set[str]:
    return {joint_value(made.clips[row], names) for row in rows}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), together=st.sampled_from(NAMES))
def test_validation_is_a_small_part_of_the_training_clips(corpus: Make, seed: int, together: Names) -> None:
    made = corpus(n_speakers=10, attributes=statements)
    train = apply_protocol("holdout80", made).folds[0].train
    fit, validation = validation_split(made, train, together, seed)
    assert sorted([*fit, *validation]) == train.tolist()
    assert 0 < len(validation) < len(train) / (3 if together != ("statement",) else 1.5)
    assert not together or values(made, together, fit).isdisjoint(values(made, together, validation))


@settings(max_examples=25, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=8),
    seed=st.integers(0, 1000),
    together=st.sampled_from(NAMES),
)
def test_duplicates_never_stand_on_both_sides_of_the_inner_split(
    corpus: Make, pairs: list[tuple[int, int]], seed: int, together: Names
) -> None:
    made = corpus(n_speakers=20, duplicates=pairs, attributes=statements)
    train = apply_protocol("speaker5" if "speaker" in together else "stratified5", made).folds[0].train
    fit, validation = validation_split(made, train, together, seed)
    assert sorted([*fit, *validation]) == train.tolist()
    for rows in made.duplicates:
        assert len({row in set(validation.tolist()) for row in rows if row in set(train.tolist())}) <= 1


@pytest.mark.parametrize("together", [("speaker",), ()])
def test_a_validation_part_is_found_also_where_a_class_has_one_clip(corpus: Make, together: Names) -> None:
    made = corpus(n_speakers=1 if together else 3)
    rare = np.flatnonzero(made.targets == 0)[:1]
    train = np.sort(np.concatenate([rare, np.flatnonzero(made.targets != 0)]))
    fit, validation = validation_split(made, train, together, 0)
    assert sorted([*fit, *validation]) == train.tolist()
    assert len(validation)


@pytest.mark.parametrize("together", NAMES)
@given(n_folds=st.integers(1, 6), seed=st.integers(0, 99), name=st.sampled_from(["stratified5", "speaker5"]))
@settings(max_examples=25)
def test_inner_folds_split_the_training_rows_and_nothing_else(
    corpus: Make, together: Names, n_folds: int, seed: int, name: str
) -> None:
    made = corpus(duplicates=[(0, 5), (3, 43)], attributes=statements)
    for outer in apply_protocol(name, made).folds:
        inside = inner_folds(made, outer.train, together, n_folds, seed)
        assert 1 <= len(inside) <= n_folds
        for fold in inside:
            assert sorted([*fold.train, *fold.test]) == sorted(outer.train)
            sides = {row: row in set(fold.test.tolist()) for row in outer.train.tolist()}
            for rows in made.duplicates:
                assert len({sides[row] for row in rows if row in sides}) <= 1
            if together:
                assert not values(made, together, fold.train) & values(made, together, fold.test)
        if n_folds > 1:
            tested = [row for fold in inside for row in fold.test.tolist()]
            assert sorted(tested) == sorted(outer.train)


def test_inner_folds_are_the_same_for_the_same_seed_alone(corpus: Make) -> None:
    made = corpus()
    train = apply_protocol("stratified5", made).folds[0].train
    splits = [[fold.test.tolist() for fold in inner_folds(made, train, (), 3, seed)] for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_a_class_of_one_recording_leaves_a_hold_out(corpus: Make) -> None:
    made = corpus(n_takes=1, n_speakers=6)
    rare = np.flatnonzero(made.targets == 0)[1:]
    train = np.setdiff1d(np.arange(len(made.clips)), rare)
    assert len(inner_folds(made, train, (), 3, 0)) == 1


@pytest.mark.parametrize("together", [("speaker",), ()])
def test_a_single_recording_is_all_for_fitting(corpus: Make, together: Names) -> None:
    fit, validation = validation_split(corpus(duplicates=[(3, 4)]), np.array([3, 4]), together, 0)
    assert (fit.tolist(), validation.tolist()) == ([3, 4], [])


@settings(max_examples=50, deadline=None)
@given(rows=st.sets(st.integers(0, 71), min_size=2), seed=st.integers(0, 99), together=st.sampled_from(NAMES))
def test_any_two_recordings_or_more_can_be_split_and_nothing_is_added_to_them(
    corpus: Make, rows: set[int], seed: int, together: Names
) -> None:
    made = corpus(duplicates=[(0, 70), (1, 2), (2, 50)], attributes=statements)
    train = np.array(sorted(rows))
    if len(first_duplicates(made, train)) > 1:
        splits = [(f.train, f.test) for n in (1, 3) for f in inner_folds(made, train, together, n, seed)]
        for fit, aside in [*splits, validation_split(made, train, together, seed)]:
            assert sorted([*fit, *aside]) == sorted(rows)
            assert len(fit)
            assert len(aside)


def test_a_clip_without_a_speaker_hinders_only_a_split_that_uses_it(of_clips: Make) -> None:
    clips = [Clip(f"{n:02}", Path(), "ba"[n % 2], f"s{n // 4}" if n < 16 else None) for n in range(20)]
    made = of_clips(clips, ("b", "a"))
    fit, validation = validation_split(made, np.arange(16), ("speaker",), 0)
    assert len({made.speakers[row] for row in validation}) == 1
    with pytest.raises(CorpusError, match="names no speaker for 16"):
        validation_split(made, np.arange(20), ("speaker",), 0)
    assert len(fit) == 12


def test_takes_of_an_utterance_are_held_out_by_class(corpus: Make) -> None:
    made = corpus(n_speakers=10, attributes=statements)
    train = np.arange(len(made.clips))
    splits = [validation_split(made, train, UTTERANCE, seed)[1] for seed in range(20)]
    assert all(np.bincount(made.targets[aside]).tolist() == [4, 4, 4] for aside in splits)


@pytest.mark.parametrize("names", [("statement",), ("mood", "statement")])
def test_a_single_group_is_split_like_clips_without_groups(corpus: Make, names: Names) -> None:
    made = corpus(attributes=lambda _take: {"statement": "kids"})
    train = np.arange(len(made.clips))
    assert same(validation_split(made, train, names, 0), validation_split(made, train, (), 0))
    for n_folds in (1, 3):
        folds = [inner_folds(made, train, together, n_folds, 0) for together in (names, ())]
        assert [fold.test.tolist() for fold in folds[0]] == [fold.test.tolist() for fold in folds[1]]


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
