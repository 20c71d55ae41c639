from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.data.corpus import AudioFacts, CheckedCorpus, Clip, Corpus
from marsbench.errors import CorpusError

LABELS = ("sad", "happy", "calm")


def make_clip(number: int) -> Clip:
    name = f"{number:02}.wav"
    return Clip(name, Path(name), LABELS[number % 3], f"speaker {number % 2}", {"channel": "speech"})


def make_corpus(numbers: range | list[int] = range(6), labels: tuple[str, ...] = LABELS) -> CheckedCorpus:
    clips = tuple(make_clip(number) for number in numbers)
    facts = tuple(AudioFacts(sha256=f"bytes {clip.id}", content=f"sound {clip.id}") for clip in clips)
    return CheckedCorpus(Corpus("toy", labels, clips), clips, facts)


def with_clip(corpus: CheckedCorpus, row: int, clip: Clip) -> CheckedCorpus:
    return replace(corpus, clips=(*corpus.clips[:row], clip, *corpus.clips[row + 1 :]))


def with_facts(corpus: CheckedCorpus, row: int, facts: AudioFacts) -> CheckedCorpus:
    return replace(corpus, facts=(*corpus.facts[:row], facts, *corpus.facts[row + 1 :]))


@pytest.mark.parametrize(
    ("labels", "clips", "message"),
    [
        (LABELS, (), "corpus 'toy' has no clips"),
        (LABELS, (make_clip(0), make_clip(0)), "clip '00.wav' is listed twice"),
        (("sad", "happy", "sad"), (make_clip(0),), "label 'sad' is listed twice"),
        (("angry", "happy"), (make_clip(0),), r"label 'sad' is not one of its classes: angry, happy"),
        (("sad",), (make_clip(0),), "has only one class, 'sad'; at least two are needed"),
        ((), (make_clip(0),), "label 'sad' is not one of its classes"),
    ],
)
def test_a_corpus_that_makes_no_sense_is_refused(
    labels: tuple[str, ...], clips: tuple[Clip, ...], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        Corpus("toy", labels, clips)


HIDDEN = ["hap\x1b[31mpy", "hap\npy", "hap\x9bpy", "\u202eyppah", "hap\u2066py", "hap\udc80py", "hap\x7fpy"]


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("field", ["label", "id", "speaker"])
def test_names_that_a_terminal_would_obey_are_refused_and_shown_escaped(name: str, field: str) -> None:
    clips = (replace(make_clip(0), **{field: name}), make_clip(1))  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match="has a control or invisible character; rename it") as caught:
        Corpus("toy", tuple(dict.fromkeys(clip.label for clip in clips)), clips)
    assert repr(name)[1:-1] in str(caught.value)


@pytest.mark.parametrize("name", ["fröhlich", "می\u200cترسم", "👩\u200d🎤", "悲しい", "a b"])
def test_names_of_every_language_are_accepted(name: str) -> None:
    clips = (replace(make_clip(0), label=name, id=name, speaker=name), make_clip(1))
    assert Corpus("toy", (name, "happy"), clips).clips == clips


def test_targets_follow_the_stated_order_of_classes_not_the_alphabet() -> None:
    corpus = make_corpus()
    assert [corpus.labels[target] for target in corpus.targets] == [clip.label for clip in corpus.clips]
    np.testing.assert_array_equal(corpus.targets, [0, 1, 2, 0, 1, 2])


def test_duplicates_are_the_rows_of_identical_audio() -> None:
    corpus = make_corpus()
    for row in (1, 4, 5):
        corpus = with_facts(corpus, row, replace(corpus.facts[row], content="the same"))
    assert corpus.duplicates == ((1, 4, 5),)
    assert make_corpus().duplicates == ()


@given(numbers=st.permutations(list(range(6))))
def test_the_fingerprint_does_not_depend_on_the_order_of_clips(numbers: list[int]) -> None:
    assert make_corpus(numbers).fingerprint == make_corpus().fingerprint


@given(row=st.integers(0, 5), change=st.sampled_from(["id", "label", "speaker", "attributes", "audio"]))
def test_the_fingerprint_changes_with_whatever_changes_of_any_clip(row: int, change: str) -> None:
    corpus = make_corpus()
    clip = corpus.clips[row]
    changed = {
        "id": with_clip(corpus, row, replace(clip, id="other")),
        "label": with_clip(corpus, row, replace(clip, label=LABELS[(row + 1) % 3])),
        "speaker": with_clip(corpus, row, replace(clip, speaker=None)),
        "attributes": with_clip(corpus, row, replace(clip, attributes={"channel": "song"})),
        "audio": with_facts(corpus, row, replace(corpus.facts[row], sha256="other")),
    }[change]
    assert changed.fingerprint != corpus.fingerprint


@given(labels=st.permutations(LABELS).map(tuple))
def test_the_fingerprint_changes_with_the_order_of_classes(labels: tuple[str, ...]) -> None:
    same = make_corpus(labels=labels).fingerprint == make_corpus().fingerprint
    assert same == (labels == LABELS)


def test_the_fingerprint_does_not_depend_on_where_the_corpus_lies() -> None:
    corpus = make_corpus()
    moved = with_clip(corpus, 0, replace(corpus.clips[0], path=Path("/elsewhere/00.wav")))
    assert moved.fingerprint == corpus.fingerprint


def test_swapping_the_audio_of_two_clips_changes_the_fingerprint() -> None:
    corpus = make_corpus()
    swapped = replace(corpus, facts=(corpus.facts[1], corpus.facts[0], *corpus.facts[2:]))
    assert swapped.fingerprint != corpus.fingerprint
