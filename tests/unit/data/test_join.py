"""Corpora joined over their common classes."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.data.corpus import Clip, Corpus
from marsbench.data.join import common_words, join
from marsbench.errors import CorpusError


def corpus(name: str, labels: Sequence[str], speaker: str | None = "s1", licence: str = "free") -> Corpus:
    """Two clips of each class."""
    clips = [
        Clip(f"{label}-{take}.wav", Path(name, f"{label}-{take}.wav"), label, speaker, {"take": str(take)})
        for label in labels
        for take in range(2)
    ]
    return Corpus(name, tuple(labels), tuple(clips), licence=licence)


A = corpus("a", ["neutral", "calm", "happy", "angry"])
B = corpus("b", ["Anger", "happiness", "Fear"], licence="paid")


def test_clips_and_speakers_are_named_by_their_corpus() -> None:
    clip = next(clip for clip in join([A, B]).clips if clip.id == "b/Anger-0.wav")
    assert (clip.label, clip.speaker) == ("angry", "b/s1")
    assert clip.attributes == {"take": "0", "corpus": "b"}


def test_only_classes_that_all_corpora_have_are_kept_and_all_else_is_told() -> None:
    made = join([A, B])
    assert made.labels == ("happy", "angry")
    assert len(made.clips) == 8
    assert "clips left out, as not all corpora have their class: 2 of neutral (a), 2 of calm (a)" in str(
        made.notes
    )
    assert "Anger of b is angry, happiness of b is happy, Fear of b is fearful" in str(made.notes)


def test_the_order_of_corpora_does_not_matter_and_licences_are_listed() -> None:
    assert join([A, B]) == join([B, A])
    assert (join([A, B]).name, join([A, B]).licence) == ("a-b", "a: free; b: paid")


def test_a_corpus_without_speakers_stays_without() -> None:
    made = join([A, corpus("c", ["happy", "angry"], speaker=None)])
    assert {clip.speaker for clip in made.clips} == {"a/s1", None}


def test_notes_of_the_corpora_are_kept_with_their_names() -> None:
    noted = Corpus("n", B.labels, B.clips, notes=("half of it is missing",))
    assert "n: half of it is missing" in join([A, noted]).notes


@pytest.mark.parametrize(
    ("corpora", "told"),
    [
        ([A, corpus("c", ["bored", "tired"])], "no class is a class of all corpora"),
        ([A, corpus("c", ["joy", "tired"])], "only happy is a class of all corpora"),
        ([A, corpus("c", ["joy", "tired"])], "a: neutral, calm, happy, angry; c: happy, tired"),
        ([A, corpus("c", ["joy", "tired"])], "--map"),
        ([A, A], "two of the corpora to join are named 'a'"),
    ],
    ids=["none", "one", "classes", "map", "twice"],
)
def test_what_cannot_be_joined_is_told_in_one_line(corpora: list[Corpus], told: str) -> None:
    with pytest.raises(CorpusError) as caught:
        join(corpora)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["happiness", "Happy", "JOY", "hap"])
def test_synonyms_become_one_word_whatever_their_case(word: str) -> None:
    assert common_words([word, "sad"]) == {word: "happy", "sad": "sad"}


@given(st.sets(st.sampled_from(["joy", "happy", "Happiness", "fear", "sad", "x", "X"]), min_size=1))
def test_labels_of_one_corpus_are_never_merged_unasked(labels: set[str]) -> None:
    assert len(set(common_words(labels).values())) == len(labels)
