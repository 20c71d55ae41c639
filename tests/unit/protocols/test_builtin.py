from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.leakage import statements

Make = Callable[..., CheckedCorpus]


def said(take: int) -> dict[str, str]:
    return {"statement": ("kids", "dogs", "birds")[take % 3]}


@pytest.mark.parametrize("name", ["stratified5", "holdout80", "speaker5", "loso", "statement2"])
def test_no_clip_is_trained_on_and_tested_in_one_fold(corpus: Make, name: str) -> None:
    for fold in apply_protocol(name, corpus(attributes=said)).folds:
        assert set(fold.train).isdisjoint(fold.test)


@pytest.mark.parametrize("name", ["stratified5", "speaker5", "loso", "statement2"])
def test_a_protocol_of_several_folds_tests_every_clip_once(corpus: Make, name: str) -> None:
    made = corpus(attributes=said)
    tested = np.concatenate([fold.test for fold in apply_protocol(name, made).folds])
    assert sorted(tested) == list(range(len(made.clips)))


def test_holdout80_tests_a_fifth(corpus: Make) -> None:
    (fold,) = apply_protocol("holdout80", corpus(n_takes=5)).folds
    assert (len(fold.train), len(fold.test)) == (72, 18)


@pytest.mark.parametrize("name", ["stratified5", "holdout80"])
def test_classes_are_balanced_in_every_fold(corpus: Make, name: str) -> None:
    made = corpus(n_takes=5)
    for fold in apply_protocol(name, made).folds:
        assert set(Counter(made.targets[fold.test].tolist()).values()) == {6}


def test_speaker5_puts_no_speaker_on_both_sides(corpus: Make) -> None:
    made = corpus(n_speakers=7)
    for fold in apply_protocol("speaker5", made).folds:
        speakers = np.array(made.speakers)
        assert set(speakers[fold.train]).isdisjoint(speakers[fold.test])


def test_speakers_who_share_a_recording_stand_on_one_side(corpus: Make) -> None:
    made = corpus(n_speakers=8, copies=[(0, 95), (12, 24)])
    for fold in apply_protocol("speaker5", made).folds:
        tested = {made.speakers[row] for row in fold.test}
        assert ("s0" in tested) == ("s7" in tested)
        assert ("s1" in tested) == ("s2" in tested)


def test_loso_tests_one_speaker_a_fold_in_their_order(corpus: Make) -> None:
    made = corpus(n_speakers=3)
    folds = apply_protocol("loso", made).folds
    assert [{made.speakers[row] for row in fold.test} for fold in folds] == [{"s0"}, {"s1"}, {"s2"}]
    assert [len(fold.train) for fold in folds] == [24] * 3


@pytest.mark.parametrize("n_takes", [2, 3, 4])
def test_statement2_puts_no_statement_on_both_sides(corpus: Make, n_takes: int) -> None:
    made = corpus(attributes=said, n_takes=n_takes)
    folds = apply_protocol("statement2", made).folds
    assert len(folds) == 2
    for fold in folds:
        trained, tested = ({statements(made)[row] for row in rows} for rows in (fold.train, fold.test))
        assert not trained & tested
        assert trained | tested == {said(take)["statement"] for take in range(n_takes)}


def test_clips_that_name_no_statement_are_left_out_and_counted(corpus: Make) -> None:
    made = corpus(attributes=lambda take: said(take) if take < 2 else {})
    applied = apply_protocol("statement2", made)
    assert "36 clips left out: they name no statement" in applied.notes
    assert sum(len(fold.test) for fold in applied.folds) == 36


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("stratified5", {"n_speakers": 2, "n_takes": 2}, "needs 5 clips of every class; class 'b'"),
        ("holdout80", {"n_speakers": 1, "n_takes": 2}, "needs 5 clips of every class"),
        ("speaker5", {"n_speakers": 4}, "speaker5 needs 5 speakers; corpus 'made' has 4"),
        ("speaker5", {"n_speakers": 2, "n_takes": 2}, "speaker5 needs 5 clips of every class"),
        ("speaker5", {"n_speakers": None}, "names no speaker for 00-b-0"),
        ("loso", {"n_speakers": None}, "names no speaker for 00-b-0"),
        ("loso", {"n_speakers": 1}, "loso needs 2 speakers; corpus 'made' has 1"),
        ("statement2", {}, "statement2 needs clips of two statements; corpus 'made' names none"),
        ("statement2", {"attributes": said, "n_takes": 1}, "corpus 'made' has one alone, 'kids'"),
        ("statement2", {"attributes": said, "n_speakers": 1, "n_takes": 1}, "has one alone"),
    ],
)
def test_a_corpus_that_does_not_fit_is_one_line(
    corpus: Make, name: str, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(CorpusError) as error:
        apply_protocol(name, corpus(**asked))
    assert message in str(error.value)
