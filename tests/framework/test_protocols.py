from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.audio import AudioFacts
from marsbench.corpus import CheckedCorpus, Clip, Corpus
from marsbench.errors import ConfigError, CorpusError
from marsbench.protocols import PROTOCOLS, apply_protocol, inner_folds, keep_aside

LABELS = ("b", "a", "c")


def corpus(
    n_speakers: int | None = 6, n_takes: int = 4, copies: Sequence[tuple[int, int]] = ()
) -> CheckedCorpus:
    """Clips of every class by every speaker; `copies` are pairs of rows with the same audio."""
    clips = [
        Clip(f"{speaker:02}-{label}-{take}", Path(), label, f"s{speaker}" if n_speakers else None)
        for speaker in range(n_speakers or 6)
        for label in LABELS
        for take in range(n_takes)
    ]
    facts = [AudioFacts(sha256=clip.id, content=clip.id) for clip in clips]
    for first, second in copies:
        facts[second] = AudioFacts(sha256=clips[second].id, content=facts[first].content)
    return CheckedCorpus(Corpus("made", LABELS, tuple(clips)), tuple(clips), tuple(facts))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_clip_is_trained_on_and_tested_in_one_fold(name: str) -> None:
    for fold in apply_protocol(name, corpus()).folds:
        assert set(fold.train).isdisjoint(fold.test)


@pytest.mark.parametrize("name", ["stratified5", "speaker5"])
def test_five_folds_test_every_clip_once(name: str) -> None:
    made = corpus()
    tested = np.concatenate([fold.test for fold in apply_protocol(name, made).folds])
    assert sorted(tested) == list(range(len(made.clips)))


def test_holdout80_tests_a_fifth() -> None:
    (fold,) = apply_protocol("holdout80", corpus(n_takes=5)).folds
    assert (len(fold.train), len(fold.test)) == (72, 18)


@pytest.mark.parametrize("name", ["stratified5", "holdout80"])
def test_classes_are_balanced_in_every_fold(name: str) -> None:
    made = corpus(n_takes=5)
    for fold in apply_protocol(name, made).folds:
        assert set(Counter(made.targets[fold.test].tolist()).values()) == {6}


def test_speaker5_puts_no_speaker_on_both_sides() -> None:
    made = corpus(n_speakers=7)
    for fold in apply_protocol("speaker5", made).folds:
        speakers = np.array(made.speakers)
        assert set(speakers[fold.train]).isdisjoint(speakers[fold.test])


@settings(max_examples=25, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=8))
@pytest.mark.parametrize("name", ["stratified5", "holdout80"])
def test_copies_always_stand_on_one_side(name: str, pairs: list[tuple[int, int]]) -> None:
    made = corpus(n_speakers=20, copies=pairs)
    for fold in apply_protocol(name, made).folds:
        for rows in made.copies:
            assert len({row in set(fold.test.tolist()) for row in rows}) == 1


def test_speakers_who_share_a_recording_stand_on_one_side() -> None:
    made = corpus(n_speakers=8, copies=[(0, 95), (12, 24)])
    for fold in apply_protocol("speaker5", made).folds:
        tested = {made.speakers[row] for row in fold.test}
        assert ("s0" in tested) == ("s7" in tested)
        assert ("s1" in tested) == ("s2" in tested)


def test_copies_are_named_in_the_notes() -> None:
    notes = apply_protocol("stratified5", corpus(copies=[(0, 1)])).notes
    assert "1 group(s) of exact copies kept on one side of each split: 00-b-0 = 00-b-1" in notes


@pytest.mark.parametrize(("name", "shared"), [("stratified5", True), ("speaker5", False)])
def test_shared_speakers_are_stated(name: str, shared: bool) -> None:
    notes = apply_protocol(name, corpus()).notes
    assert any("speakers stand on both sides" in note for note in notes) == shared


def test_a_protocol_is_frozen() -> None:
    assert apply_protocol("stratified5", corpus()).hash == apply_protocol("stratified5", corpus()).hash


@pytest.mark.parametrize("other", [corpus(n_takes=5), corpus(copies=[(0, 1)]), corpus(n_speakers=None)])
def test_another_corpus_or_split_has_another_hash(other: CheckedCorpus) -> None:
    assert apply_protocol("stratified5", other).hash != apply_protocol("stratified5", corpus()).hash


@pytest.mark.parametrize(
    ("name", "made", "message"),
    [
        ("stratified5", corpus(n_speakers=2, n_takes=2), "needs 5 clips of every class; class 'b'"),
        ("holdout80", corpus(n_speakers=1, n_takes=2), "needs 5 clips of every class"),
        ("speaker5", corpus(n_speakers=4), "speaker5 needs 5 speakers; corpus 'made' has 4"),
        ("speaker5", corpus(n_speakers=2, n_takes=2), "speaker5 needs 5 clips of every class"),
        ("speaker5", corpus(n_speakers=None), "names no speaker for 00-b-0"),
    ],
)
def test_a_corpus_that_does_not_fit_is_one_line(name: str, made: CheckedCorpus, message: str) -> None:
    with pytest.raises(CorpusError) as error:
        apply_protocol(name, made)
    assert message in str(error.value)


def test_an_unknown_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'speaker5'"):
        apply_protocol("speakers5", corpus())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), by_speaker=st.booleans())
def test_validation_is_a_small_part_of_the_training_clips(seed: int, by_speaker: bool) -> None:
    made = corpus(n_speakers=10)
    train = apply_protocol("holdout80", made).folds[0].train
    fit, validation = keep_aside(made, train, by_speaker, seed)
    assert sorted([*fit, *validation]) == train.tolist()
    assert 0 < len(validation) < len(train) / 3
    speakers = np.array(made.speakers)
    assert not by_speaker or set(speakers[fit]).isdisjoint(speakers[validation])


@settings(max_examples=25, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=8),
    seed=st.integers(0, 1000),
    by_speaker=st.booleans(),
)
def test_copies_never_stand_on_both_sides_of_the_inner_split(
    pairs: list[tuple[int, int]], seed: int, by_speaker: bool
) -> None:
    made = corpus(n_speakers=20, copies=pairs)
    train = apply_protocol("speaker5" if by_speaker else "stratified5", made).folds[0].train
    fit, validation = keep_aside(made, train, by_speaker, seed)
    assert sorted([*fit, *validation]) == train.tolist()
    for rows in made.copies:
        assert len({row in set(validation.tolist()) for row in rows if row in set(train.tolist())}) <= 1


@pytest.mark.parametrize("by_speaker", [True, False])
def test_a_validation_part_is_found_also_where_a_class_has_one_clip(by_speaker: bool) -> None:
    made = corpus(n_speakers=1 if by_speaker else 3)
    rare = np.flatnonzero(made.targets == 0)[:1]
    train = np.sort(np.concatenate([rare, np.flatnonzero(made.targets != 0)]))
    fit, validation = keep_aside(made, train, by_speaker, 0)
    assert sorted([*fit, *validation]) == train.tolist()
    assert len(validation)


def test_a_fold_that_trains_without_a_class_is_noted() -> None:
    clips = [Clip(f"{n:02}", Path(), "b" if n < 5 else "a", f"s{max(0, n - 4)}") for n in range(20)]
    facts = [AudioFacts(sha256=clip.id, content=clip.id) for clip in clips]
    made = CheckedCorpus(Corpus("made", ("b", "a"), tuple(clips)), tuple(clips), tuple(facts))
    notes = apply_protocol("speaker5", made).notes
    assert [note for note in notes if "trains without class 'b' and cannot recognise it" in note]


def test_copies_under_different_labels_are_noted() -> None:
    notes = apply_protocol("stratified5", corpus(copies=[(0, 1), (2, 5)])).notes
    assert "the same audio has different labels: 00-b-2 = 00-a-1" in notes
    assert len([note for note in notes if "different labels" in note]) == 1


@pytest.mark.parametrize("by_speaker", [False, True])
@given(n_folds=st.integers(1, 6), seed=st.integers(0, 99), name=st.sampled_from(["stratified5", "speaker5"]))
@settings(max_examples=25)
def test_inner_folds_split_the_training_rows_and_nothing_else(
    by_speaker: bool, n_folds: int, seed: int, name: str
) -> None:
    made = corpus(copies=[(0, 5), (3, 40)])
    for outer in apply_protocol(name, made).folds:
        inside = inner_folds(made, outer.train, by_speaker, n_folds, seed)
        assert 1 <= len(inside) <= n_folds
        for fold in inside:
            assert sorted([*fold.train, *fold.test]) == sorted(outer.train)
            sides = {row: row in set(fold.test.tolist()) for row in outer.train.tolist()}
            for rows in made.copies:
                assert len({sides[row] for row in rows if row in sides}) <= 1
            if by_speaker:
                speakers = [{made.speakers[row] for row in rows} for rows in (fold.train, fold.test)]
                assert not speakers[0] & speakers[1]
        if n_folds > 1:
            tested = [row for fold in inside for row in fold.test.tolist()]
            assert sorted(tested) == sorted(outer.train)


def test_inner_folds_are_the_same_for_the_same_seed_alone() -> None:
    made = corpus()
    train = apply_protocol("stratified5", made).folds[0].train
    splits = [[fold.test.tolist() for fold in inner_folds(made, train, False, 3, seed)] for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_a_class_of_one_recording_leaves_a_hold_out() -> None:
    made = corpus(n_takes=1, n_speakers=6)
    rare = np.flatnonzero(made.targets == 0)[1:]
    train = np.setdiff1d(np.arange(len(made.clips)), rare)
    assert len(inner_folds(made, train, False, 3, 0)) == 1
