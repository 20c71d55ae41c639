"""Which clips a search is kept from, and what the winner comes to on them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.protocols import checked, made_corpus
from marsbench.automl.holdout import held_out_line, held_out_score, without_held_out
from marsbench.config import Search
from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import ConfigError


def reduced(corpus: CheckedCorpus, **asked: Any) -> CheckedCorpus:
    return without_held_out(corpus, Search.parse(asked, "test"))


def held_speakers(corpus: CheckedCorpus) -> set[str | None]:
    return {clip.speaker for clip in corpus.held_out}


@pytest.mark.parametrize("names", ["s1,s4", ["s1", "s4"], "s4, s1"])
def test_clips_of_the_named_speakers_are_held_out_and_no_others(names: Any) -> None:
    corpus = made_corpus()
    left = reduced(corpus, hold_out_speakers=names)
    assert held_speakers(left) == {"s1", "s4"}
    assert set(left.speakers) == {"s0", "s2", "s3", "s5"}
    assert {clip.id for clip in (*left.clips, *left.held_out)} == {clip.id for clip in corpus.clips}
    assert len(left.clips) + len(left.held_out) == len(corpus.clips)
    assert len(left.facts) == len(left.clips)
    assert left.fingerprint != corpus.fingerprint


@pytest.mark.parametrize("number", ["2", 2])
def test_a_number_of_speakers_is_drawn_by_the_seed(number: Any) -> None:
    corpus = made_corpus(n_speakers=12)
    drawn = [held_speakers(reduced(corpus, hold_out_speakers=number, seed=seed)) for seed in (0, 0, 1, 2, 3)]
    assert all(len(names) == 2 for names in drawn)
    assert drawn[0] == drawn[1]
    assert any(names != drawn[0] for names in drawn)


def test_a_speaker_whose_name_is_a_number_can_be_named() -> None:
    clips = [
        Clip(f"{n}-{k}-{label}", Path(), label, str(n)) for n in range(6) for k in "xy" for label in "abc"
    ]
    assert held_speakers(reduced(checked(clips), hold_out_speakers="3")) == {"3"}
    assert len(held_speakers(reduced(checked(clips), hold_out_speakers="4,5"))) == 2


def lopsided() -> CheckedCorpus:
    """Speakers s0 to s3 say a and b, s4 to s7 say b and c."""
    said = {n: ("a", "b") if n < 4 else ("b", "c") for n in range(8)}
    return checked(
        [
            Clip(f"{n}-{label}-{k}", Path(), label, f"s{n}")
            for n in said
            for label in said[n]
            for k in range(3)
        ]
    )


@pytest.mark.parametrize("seed", range(5))
def test_drawn_speakers_have_every_class_and_leave_every_class(seed: int) -> None:
    left = reduced(lopsided(), hold_out_speakers=4, seed=seed)
    assert {clip.label for clip in left.held_out} == {clip.label for clip in left.clips} == {"a", "b", "c"}


@given(st.floats(0.05, 0.6), st.integers(0, 99))
def test_a_share_of_clips_takes_the_same_share_of_each_class(share: float, seed: int) -> None:
    corpus = made_corpus(n_speakers=None, n_takes=5)
    left = reduced(corpus, hold_out_clips=share, seed=seed)
    assert len(left.held_out) == round(share * 90)
    counts = Counter(clip.label for clip in left.held_out)
    assert all(abs(counts[label] - share * 30) <= 1.5 for label in corpus.labels)


def test_a_number_of_clips_is_held_out() -> None:
    assert len(reduced(made_corpus(n_speakers=None), hold_out_clips=10).held_out) == 10


def test_copies_of_held_out_clips_are_held_out_too() -> None:
    corpus = made_corpus(duplicates=[(0, 71)])
    left = reduced(corpus, hold_out_speakers="s0")
    assert corpus.clips[71] in left.held_out
    assert len(left.held_out) == 13


def test_nothing_is_held_out_unless_asked_for() -> None:
    corpus = made_corpus()
    assert reduced(corpus) is corpus


@pytest.mark.parametrize(
    ("corpus", "asked", "message"),
    [
        (made_corpus, {"hold_out_speakers": "s1,s9"}, "Unknown speaker 's9'"),
        (
            made_corpus,
            {"hold_out_speakers": "5"},
            "5 of 6 speakers; hold out at least 1, and leave",
        ),
        (made_corpus, {"hold_out_speakers": "0"}, "0 of 6 speakers"),
        (made_corpus, {"hold_out_speakers": "s0,s1,s2,s3,s4"}, "5 of 6 speakers"),
        (lopsided, {"hold_out_speakers": "s0,s1,s2,s3"}, "no clip of 'a' would be left to train on"),
        (lambda: made_corpus(None), {"hold_out_speakers": 2}, "the corpus 'made' names no speakers"),
        (made_corpus, {"hold_out_clips": 72}, "72 of 72 clips"),
        (made_corpus, {"hold_out_clips": 0.001}, "0 of 72 clips"),
        (made_corpus, {"hold_out_clips": 1.5}, "a share below 1 or a whole number of clips is needed"),
        (made_corpus, {"hold_out_clips": -1}, "greater than 0"),
        (made_corpus, {"hold_out_clips": 3, "hold_out_speakers": 1}, "hold-out-speakers is given too"),
        (made_corpus, {"hold_out_speakers": ""}, "at least 1 item"),
    ],
)
def test_what_cannot_be_held_out_is_one_line(
    corpus: Callable[[], CheckedCorpus], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        reduced(corpus(), **asked)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_users_are_told_which_clips_are_held_out() -> None:
    line = held_out_line(reduced(made_corpus(), hold_out_speakers="s4,s1"))
    assert line.startswith("Held out: 24 clips of 2 speakers (s1, s4).")
    unnamed = held_out_line(reduced(made_corpus(n_speakers=None), hold_out_clips=7))
    assert unnamed.startswith("Held out: 7 clips. ")


@pytest.mark.parametrize("labels", [("a", "b", "c"), ("a", "b", "c", "never said")])
def test_the_score_is_that_of_the_probabilities(labels: tuple[str, ...]) -> None:
    held_out = reduced(made_corpus(), hold_out_speakers="s1,s2").held_out
    truth = np.array([labels.index(clip.label) for clip in held_out])
    answers = np.where(np.arange(len(truth)) % 4 == 0, (truth + 1) % 3, truth)
    final = held_out_score("run", held_out, labels, np.eye(len(labels))[answers])
    assert final.speakers == ["s1", "s2"]
    assert final.metrics["accuracy"].value == 0.75
    assert [scores.label for scores in final.metrics.classes] == ["a", "b", "c"]
