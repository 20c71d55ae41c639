from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import BenchError, ConfigError, CorpusError
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.protocol_file import write_protocol_file

Make = Callable[..., CheckedCorpus]
Write = Callable[..., str]


def test_a_protocol_is_frozen(corpus: Make) -> None:
    assert apply_protocol("stratified5", corpus()).hash == apply_protocol("stratified5", corpus()).hash


@pytest.mark.parametrize(
    ("together", "message"),
    [
        (
            ["statement"],
            "keeps clips of one statement together, but statement 'kids' is in both train and test",
        ),
        (
            ["speaker", "statement"],
            "but speaker and statement 's0, kids' is in both train and test of fold 1",
        ),
        (["speaker", "mood"], "own: clips of corpus 'made' have no attribute 'mood'"),
    ],
)
def test_what_stays_together_is_held_against_the_folds(
    corpus: Make, write: Write, together: list[str], message: str
) -> None:
    path = write(by="take", folds=[["0"], ["1"]], together=together)
    with pytest.raises(BenchError, match=message):
        apply_protocol(path, corpus(attributes=lambda take: {"take": str(take), "statement": "kids"}))


def test_an_unknown_protocol_is_answered_with_the_nearest(corpus: Make) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'speaker5'"):
        apply_protocol("speakers5", corpus())


def test_duplicates_under_different_labels_are_noted(corpus: Make) -> None:
    notes = apply_protocol("stratified5", corpus(duplicates=[(0, 1), (2, 5)])).notes
    assert "the same audio has different labels: 00-b-2 = 00-a-1" in notes
    assert len([note for note in notes if "different labels" in note]) == 1


def test_of_many_notes_of_a_kind_the_first_are_kept_and_the_others_counted(of_clips: Make) -> None:
    labels = tuple(f"c{number:02}" for number in range(60))
    clips = [Clip(f"{n:03}", Path(), labels[n % 60], f"s{n % 60 // 30}") for n in range(120)]
    notes = [
        note for note in apply_protocol("loso", of_clips(clips, labels)).notes if "without class" in note
    ]
    assert len(notes) == 20
    assert apply_protocol("loso", of_clips(clips, labels)).notes[-1] == "40 more notes like the last one"


@pytest.mark.parametrize("other", [{"n_takes": 5}, {"duplicates": [(0, 1)]}, {"n_speakers": None}])
def test_another_corpus_or_split_has_another_hash(corpus: Make, other: dict[str, Any]) -> None:
    assert apply_protocol("stratified5", corpus(**other)).hash != apply_protocol("stratified5", corpus()).hash


def test_a_fold_that_trains_without_a_class_is_noted(of_clips: Make) -> None:
    clips = [Clip(f"{n:02}", Path(), "b" if n < 5 else "a", f"s{max(0, n - 4)}") for n in range(20)]
    notes = apply_protocol("speaker5", of_clips(clips, ("b", "a"))).notes
    assert [note for note in notes if "trains without class 'b' and cannot recognise it" in note]


@pytest.mark.parametrize("name", ["stratified5", "holdout80", "speaker5", "loso", "statement2", "utterance5"])
def test_a_file_of_a_built_ins_name_and_splits_has_its_hash(corpus: Make, tmp_path: Path, name: str) -> None:
    made = corpus(duplicates=[(0, 13), (1, 2)], attributes=lambda take: {"statement": "ab"[take % 2]})
    applied = apply_protocol(name, made)
    write_protocol_file(tmp_path / "own.json", applied, made)
    read = apply_protocol(str(tmp_path / "own.json"), made)
    assert (read.hash, read.together, read.leakage) == (applied.hash, applied.together, applied.leakage)
    assert read.notes == applied.notes


@pytest.mark.parametrize(
    "values",
    [
        {"name": "loso", "folds": [["s1"], ["s0"], ["s2"]]},
        {"name": "loso", "folds": [["s0"], ["s1"], ["s2"]], "by_speaker": False},
        {"name": "emobox6", "folds": [["s0"], ["s1"], ["s2"]]},
    ],
)
def test_a_file_of_a_built_ins_name_and_other_splits_needs_another_name(
    corpus: Make, write: Write, values: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="differently from the built-in protocol of that name"):
        apply_protocol(write(**values), corpus(n_speakers=3))


def test_files_that_split_training_clips_otherwise_have_another_hash(corpus: Make, write: Write) -> None:
    paths = [write(f"{way}.json", folds=[["s0"], ["s1"], ["s2"]], by_speaker=way) for way in (True, False)]
    hashes = {apply_protocol(path, corpus(n_speakers=3)).hash for path in paths}
    assert len(hashes) == 2


def test_what_trains_on_less_than_two_recordings_is_refused(corpus: Make, write: Write) -> None:
    path = write(by="clip", folds=[["00-b-0", "00-a-0", "00-c-0"]], never_tested=["00-b-1"])
    with pytest.raises(CorpusError, match=r"own leaves fold 1 of corpus 'made' 1 different clip\(s\)"):
        apply_protocol(path, corpus())


def test_a_class_that_is_never_tested_is_refused(corpus: Make, write: Write) -> None:
    path = write(by="clip", folds=[["00-b-0"]], never_tested=["00-b-1", "00-a-0"])
    with pytest.raises(CorpusError, match="own tests no clip of class 'a' of corpus 'made'"):
        apply_protocol(path, corpus())


def test_by_speaker_is_held_against_the_folds(corpus: Make, write: Write) -> None:
    path = write(by="take", folds=[["0"], ["1"]], by_speaker=True)
    with pytest.raises(ConfigError, match="speaker 's0' is in both train and test of fold 1"):
        apply_protocol(path, corpus(attributes=lambda take: {"take": str(take)}))
