from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import ConfigError, CorpusError
from marsbench.protocols.apply import apply_protocol, find_protocol
from marsbench.protocols.inner_splits import inner_folds
from marsbench.protocols.leakage import statements
from marsbench.protocols.protocol import Definition, Fold, Splits

Make = Callable[..., CheckedCorpus]
Write = Callable[..., str]


def said(take: int) -> dict[str, str]:
    return {"statement": ("kids", "dogs", "birds")[take % 3]}


@pytest.mark.parametrize("name", ["stratified5", "holdout80", "speaker5", "loso", "statement2", "utterance5"])
def test_no_clip_is_trained_on_and_tested_in_one_fold(corpus: Make, name: str) -> None:
    for fold in apply_protocol(name, corpus(attributes=said)).folds:
        assert set(fold.train).isdisjoint(fold.test)


@pytest.mark.parametrize("name", ["stratified5", "speaker5", "loso", "statement2", "utterance5"])
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
    made = corpus(n_speakers=8, duplicates=[(0, 95), (12, 24)])
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


def spoken(take: int) -> dict[str, str]:
    """Two statements, each spoken and sung, with two takes at two intensities: 4 utterances of 8 takes."""
    return {
        "statement": ("kids", "dogs")[take % 2],
        "channel": ("speech", "song")[take // 2 % 2],
        "repetition": str(take // 4),
        "intensity": ("normal", "strong")[take // 4],
    }


@pytest.mark.parametrize("name", ["utterance2", "utterance5"])
@pytest.mark.parametrize("n_speakers", [6, None])
def test_all_takes_of_an_utterance_are_in_one_part(corpus: Make, name: str, n_speakers: int | None) -> None:
    made = corpus(n_speakers=n_speakers, n_takes=8, attributes=spoken)
    for fold in apply_protocol(name, made).folds:
        trained, tested = (
            {(clip.speaker, clip.label, clip.attributes["statement"], clip.attributes["channel"])
             for clip in (made.clips[row] for row in rows)}
            for rows in (fold.train, fold.test)
        )  # fmt: skip
        assert trained.isdisjoint(tested)


def test_utterances_that_share_a_recording_stand_on_one_side(corpus: Make) -> None:
    made = corpus(n_takes=8, attributes=spoken, duplicates=[(0, 30), (30, 100)])
    applied = apply_protocol("utterance5", made)
    assert applied.leakage.dropped_duplicates == ()
    for fold in applied.folds:
        assert len({row in fold.test for row in (0, 4, 30, 26, 100, 96)}) == 1


def test_utterance5_leaves_out_clips_that_name_no_statement(corpus: Make) -> None:
    made = corpus(attributes=lambda take: spoken(take) if take < 3 else {})
    applied = apply_protocol("utterance5", made)
    assert "18 clips left out: they name no statement" in applied.notes
    assert sum(len(fold.test) for fold in applied.folds) == 54


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("stratified5", {"n_speakers": 2, "n_takes": 2}, "needs 5 clips of every class; class 'b'"),
        ("holdout80", {"n_speakers": 1, "n_takes": 2}, "needs 5 clips of every class"),
        ("speaker5", {"n_speakers": 4}, "speaker5 needs 5 speakers; corpus 'made' has 4"),
        ("speaker5", {"n_speakers": 2, "n_takes": 2}, "speaker5 needs 5 clips of every class"),
        ("speaker5", {"n_speakers": None}, "names no speaker for 00-b-0: name speakers by --speaker"),
        ("loso", {"n_speakers": None}, "names no speaker for 00-b-0"),
        ("loso", {"n_speakers": 1}, "loso needs 2 speakers; corpus 'made' has 1"),
        ("statement2", {}, "statement2 needs clips of two statements; corpus 'made' names none"),
        ("utterance5", {}, "clips of corpus 'made' have no attribute 'statement' (what is said). Name it"),
        (
            "utterance9",
            {"attributes": lambda _take: {"statement": "kids"}, "n_speakers": 2, "n_takes": 6},
            "utterance9 needs 9 groups of equal speaker, statement, label, channel; corpus 'made' has 6",
        ),
        ("statement2", {"attributes": said, "n_takes": 1}, "corpus 'made' has only one, 'kids'"),
        ("statement2", {"attributes": said, "n_speakers": 1, "n_takes": 1}, "has only one"),
    ],
)
def test_a_corpus_that_does_not_fit_is_one_line(
    corpus: Make, name: str, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(CorpusError) as error:
        apply_protocol(name, corpus(**asked))
    assert message in str(error.value)


HASHES = {
    "stratified5": "f848152ee2865b53b781b5e54f73b64356544a767fbf0fc8e8d0d4d9e5bff795",
    "holdout80": "a89801fc11de863248e5bc656b94c70067600fb26a59bb5889b625317ab04c8b",
    "speaker5": "17360fecacf304274a2b71cd7af1a901ff4492d4f05f61b566e933313d1686ae",
    "loso": "e14243b06e52bacd361f25186447866872cb71ab8e3ee66e2af2475670ab4382",
    "statement2": "3870837161577058e2f6e4b87dbddddaee7bb5f1dc5fd3832168291ac295c055",
}
"""Taken when the first runs were published: another hash would hide those from the leaderboard."""


@pytest.mark.parametrize("name", HASHES)
def test_a_published_protocol_keeps_its_splits_and_its_hash(corpus: Make, name: str) -> None:
    made = corpus(n_takes=5, attributes=lambda take: {"statement": "ab"[take % 2]})
    assert apply_protocol(name, made).hash == HASHES[name]


@pytest.mark.parametrize(
    ("name", "n_folds"), [("stratified2", 2), ("stratified10", 10), ("speaker3", 3), ("utterance4", 4)]
)
def test_a_family_has_a_protocol_for_every_number_of_folds(corpus: Make, name: str, n_folds: int) -> None:
    made = corpus(attributes=said)
    applied = apply_protocol(name, made)
    assert (applied.name, len(applied.folds)) == (name, n_folds)
    assert applied.description.startswith(f"{n_folds} folds of ")
    tested = np.concatenate([fold.test for fold in applied.folds])
    assert sorted(tested) == list(range(len(made.clips)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stratified1", "protocol 'stratified1' has 1 folds; at least 2 are needed: stratified2"),
        ("speaker0", "protocol 'speaker0' has 0 folds; at least 2 are needed: speaker2"),
        ("stratified05", "Unknown protocol 'stratified05'. Did you mean 'stratified5'?"),
        ("stratified", "Unknown protocol 'stratified'. Did you mean 'stratified5'?"),
        ("loso2", "Unknown protocol 'loso2'. Did you mean 'loso'?"),
        ("speaker" + "9" * 5000, "Unknown protocol"),
    ],
)
def test_a_name_that_no_family_has_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        find_protocol(name)
    assert str(error.value).startswith(message)


def test_more_folds_than_clips_of_a_class_are_refused(corpus: Make) -> None:
    with pytest.raises(CorpusError, match="stratified25 needs 25 clips of every class; class 'b'"):
        apply_protocol("stratified25", corpus())


def test_a_file_named_like_a_member_of_a_family_must_have_its_splits(corpus: Make, write: Write) -> None:
    path = write(name="speaker3", folds=[["s0"], ["s1", "s2", "s3"], ["s4", "s5"]])
    with pytest.raises(ConfigError, match="differently from the built-in protocol of that name"):
        apply_protocol(path, corpus())


SPARSE = [
    ((5, 0), (0, 6), (4, 6), (5, 7), (0, 1)),
    ((9, 9), (1, 0), (0, 1), (1, 0), (0, 30)),
    ((1, 20), (20, 1), (3, 0), (0, 2), (2, 2), (0, 9)),
]
"""Clips of two classes by speaker."""


def sparse(of_clips: Make, counts: tuple[tuple[int, int], ...]) -> CheckedCorpus:
    clips = [
        Clip(f"{speaker}-{label}-{n}", Path(), label, f"s{speaker}")
        for speaker, row in enumerate(counts)
        for label, count in zip("ab", row, strict=True)
        for n in range(count)
    ]
    return of_clips(clips, "ab")


@pytest.mark.parametrize("counts", SPARSE)
@pytest.mark.parametrize("name", ["speaker2", "speaker3", "speaker4", "speaker5"])
def test_folds_of_few_uneven_speakers_all_test_clips(
    of_clips: Make, counts: tuple[tuple[int, int], ...], name: str
) -> None:
    made = sparse(of_clips, counts)
    protocol = apply_protocol(name, made)

    assert all(len(fold.test) for fold in protocol.folds)
    tested = np.concatenate([fold.test for fold in protocol.folds])
    assert sorted(tested.tolist()) == list(range(len(made.clips)))
    for fold in protocol.folds:
        for n_folds in (2, 3, 5):
            inner = inner_folds(made, fold.train, ("speaker",), n_folds=n_folds, seed=0)
            assert all(len(part.train) and len(part.test) for part in inner)


def test_a_fold_without_test_clips_is_one_line(of_clips: Make) -> None:
    made = sparse(of_clips, SPARSE[0])
    rows = np.arange(len(made.clips))
    folds = Fold(rows[:9], rows[9:]), Fold(rows, rows[:0])

    with pytest.raises(CorpusError, match=r"^mine leaves fold 2 of corpus 'made' no clip to test; use fewer"):
        apply_protocol(Definition("mine", "", (), lambda _corpus: Splits(folds)), made)
