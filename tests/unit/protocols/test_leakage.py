from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.leakage import takes_phrase, without_duplicates
from marsbench.protocols.protocol import Fold

Make = Callable[..., CheckedCorpus]


@settings(max_examples=25, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=8))
@pytest.mark.parametrize("name", ["stratified5", "holdout80"])
def test_duplicates_are_always_in_one_part(corpus: Make, name: str, pairs: list[tuple[int, int]]) -> None:
    made = corpus(n_speakers=20, duplicates=pairs)
    for fold in apply_protocol(name, made).folds:
        for rows in made.duplicates:
            assert len({row in set(fold.test.tolist()) for row in rows}) == 1


def test_duplicates_are_named_in_the_notes(corpus: Make) -> None:
    notes = apply_protocol("stratified5", corpus(duplicates=[(0, 1)])).notes
    assert "1 group(s) of exact duplicates kept in one part of each split: 00-b-0 = 00-b-1" in notes


@pytest.mark.parametrize(("name", "shared"), [("stratified5", True), ("speaker5", False)])
def test_shared_speakers_are_stated(corpus: Make, name: str, shared: bool) -> None:
    notes = apply_protocol(name, corpus()).notes
    assert ("train and test share 6 speaker(s); expect lower scores on new speakers" in notes) == shared


@settings(max_examples=50, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 71), st.integers(0, 71)), max_size=8),
    sides=st.lists(st.sampled_from(["train", "test", "out"]), min_size=72, max_size=72),
)
def test_after_the_guard_no_duplicates_are_in_both_train_and_test_whatever_the_split(
    corpus: Make, pairs: list[tuple[int, int]], sides: list[str]
) -> None:
    made = corpus(duplicates=pairs)
    before = Fold(*(np.flatnonzero(np.array(sides) == side) for side in ("train", "test")))
    (fold,), leakage = without_duplicates(made, [before])
    for rows in made.duplicates:
        assert set(fold.train).isdisjoint(rows) or set(fold.test).isdisjoint(rows)
    assert fold.test.tolist() == before.test.tolist()
    lost = {(0, made.clips[row].id) for row in set(before.train) - set(fold.train)}
    assert set(leakage.dropped_duplicates) == lost


@pytest.mark.parametrize("name", ["loso", "statement2"])
def test_a_duplicate_of_a_test_clip_is_removed_from_training_and_listed(corpus: Make, name: str) -> None:
    made = corpus(n_speakers=3, attributes=said, duplicates=[(0, 13)])
    applied = apply_protocol(name, made)
    assert applied.leakage.dropped_duplicates == ((0, "01-b-1"), (1, "00-b-0"))
    assert applied.leakage.exact_groups == ()
    assert "duplicates of test clips left out of training: 01-b-1 (fold 1), 00-b-0 (fold 2)" in applied.notes


def said(take: int) -> dict[str, str]:
    """Such that the first statement in order is that of take 0."""
    return {"statement": "ab"[take % 2]}


def test_duplicates_that_a_split_keeps_together_are_listed_as_groups(corpus: Make) -> None:
    leakage = apply_protocol("stratified5", corpus(duplicates=[(0, 13), (13, 37)])).leakage
    assert (leakage.exact_groups, leakage.dropped_duplicates) == ((("00-b-0", "01-b-1", "03-b-1"),), ())


@pytest.mark.parametrize(
    ("name", "speakers", "n_statements"), [("stratified5", 6, 2), ("loso", 0, 2), ("statement2", 6, 0)]
)
def test_what_the_folds_share_is_counted(corpus: Make, name: str, speakers: int, n_statements: int) -> None:
    applied = apply_protocol(name, corpus(attributes=said))
    assert (applied.leakage.speakers_shared, applied.leakage.statements_shared) == (speakers, n_statements)
    stated = "train and test share 2 statement(s); expect lower scores on new statements"
    assert (stated in applied.notes) == bool(n_statements)


def test_speakers_are_said_to_be_shared_only_where_they_are(of_clips: Make) -> None:
    clips = [Clip(f"{n:02}", Path(), "ba"[n % 2], f"s{n:02}") for n in range(20)]
    assert apply_protocol("stratified5", of_clips(clips, ("b", "a"))).notes == ()


def taken(take: int) -> dict[str, str]:
    """Two takes of each of two statements, and a fifth clip of a statement that is said once."""
    return {"statement": "abcabd"[take]} if take != 2 else {}


@pytest.mark.parametrize(
    ("name", "share"), [("stratified5", 0.7), ("utterance5", 0.0), ("speaker5", 0.0), ("loso", 0.0)]
)
def test_the_share_of_test_clips_with_a_take_in_training_is_counted_and_said(
    corpus: Make, name: str, share: float
) -> None:
    applied = apply_protocol(name, corpus(n_takes=6, attributes=taken))
    assert applied.leakage.takes_shared == pytest.approx(share, abs=0.12)
    assert any("have another take" in note for note in applied.notes) == bool(share)


def test_takes_are_counted_fold_by_fold_among_clips_that_tell(of_clips: Make) -> None:
    clips = [Clip(f"{n}", Path(), "ba"[n % 2], "s", {"statement": "k"} if n < 8 else {}) for n in range(12)]
    train, test = np.array([0, 1, 9]), np.array([2, 4, 8, 11])
    _, leakage = without_duplicates(
        of_clips(clips, ("b", "a")), [Fold(train, test), Fold(test[2:], test[:2])]
    )
    assert leakage.takes_shared == pytest.approx(2 / 4)


@pytest.mark.parametrize("asked", [{}, {"n_speakers": None, "attributes": said}])
def test_takes_are_not_counted_where_speaker_or_statement_is_unknown(
    corpus: Make, asked: dict[str, Any]
) -> None:
    assert apply_protocol("stratified5", corpus(**asked)).leakage.takes_shared is None


@pytest.mark.parametrize(("share", "text"), [(0.98, "98 % of"), (0.001, "less than 1 % of")])
def test_a_share_of_takes_is_a_sentence(share: float, text: str) -> None:
    assert takes_phrase(share).startswith(text)
