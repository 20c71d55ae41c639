from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from marsbench.data.corpus import BadClip, CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.protocols.apply import apply_protocol

Make = Callable[..., CheckedCorpus]
Write = Callable[..., str]


def sides_of(path: str, corpus: CheckedCorpus) -> list[tuple[set[Any], set[Any]]]:
    """Speakers on either side of each fold."""
    return [
        ({corpus.speakers[row] for row in fold.test}, {corpus.speakers[row] for row in fold.train})
        for fold in apply_protocol(path, corpus).folds
    ]


def test_a_fold_tests_its_values_and_trains_on_all_others(corpus: Make, write: Write) -> None:
    path = write(folds=[["s0"], ["s1", "s2"]], never_tested=["s5"])
    assert sides_of(path, corpus()) == [
        ({"s0"}, {"s1", "s2", "s5"}),
        ({"s1", "s2"}, {"s0", "s5"}),
    ]


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (
            {"folds": [["s0"], ["s1"]]},
            "48 clips left out: the protocol does not name their speaker",
        ),
        (
            {
                "by": "clip",
                "folds": [["00-a-0", "00-b-0", "00-c-0"]],
                "never_tested": ["01-a-0", "01-b-0"],
            },
            "67 clips left out: the protocol does not name them",
        ),
    ],
)
def test_clips_that_are_in_no_list_are_left_out_and_counted(
    corpus: Make, write: Write, values: dict[str, Any], note: str
) -> None:
    assert note in apply_protocol(write(**values), corpus()).notes


def test_values_may_be_those_of_an_attribute(corpus: Make, write: Write) -> None:
    made = corpus(attributes=lambda take: {"take": str(take)} if take else {})
    applied = apply_protocol(write(by="take", folds=[["1"], ["2"]], never_tested=["3"]), made)
    takes = [{made.clips[row].attributes["take"] for row in fold.test} for fold in applied.folds]
    assert takes == [{"1"}, {"2"}]
    assert not applied.by_speaker
    assert "18 clips left out: they name no take" in applied.notes


def test_only_clips_with_an_attribute_are_used_where_it_is_asked_for(corpus: Make, write: Write) -> None:
    made = corpus(attributes=lambda take: {"channel": "song" if take else "speech"})
    applied = apply_protocol(write(folds=[["s0"], ["s1"]], only={"channel": "song"}), made)
    assert {made.clips[row].attributes["channel"] for fold in applied.folds for row in fold.train} == {"song"}
    assert "18 clips left out: only channel=song is used" in applied.notes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": [["s0"], ["s9", "s8"]]}, "own lists speaker 's9'; corpus 'made' has no clip of it"),
        ({"folds": [["s0"]], "never_tested": ["\x1b"]}, "own lists speaker '\\x1b'"),
        ({"folds": [["0"]], "by": "taks"}, "have no attribute 'taks'. Did you mean 'take'?"),
        (
            {"folds": [["s0"]], "only": {"speaker": "s0"}},
            "corpus 'made' have no attribute 'speaker'",
        ),
        ({"folds": [["s0"]], "only": {"take": "9"}}, "own uses only take=9; corpus 'made' has no such clip"),
        ({"folds": [["s0"], ["s9"]], "only": {"take": "1"}}, "has no clip of it with take=1"),
    ],
)
def test_what_the_corpus_lacks_is_named(
    corpus: Make, write: Write, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(CorpusError) as error:
        apply_protocol(write(**values), corpus(attributes=lambda take: {"take": str(take)}))
    assert message in str(error.value)


def test_a_clip_whose_audio_is_bad_is_left_out_with_a_note(corpus: Make, write: Write) -> None:
    whole = corpus()
    made = replace(whole, clips=whole.clips[1:], facts=whole.facts[1:], bad=(BadClip("00-b-0", "silent"),))
    folds = [["00-b-0", "00-b-1", "00-a-1", "00-c-1"]]
    others = [clip.id for clip in whole.clips[20:]]
    applied = apply_protocol(write(by="clip", folds=folds, never_tested=others), made)
    assert "1 value(s) of the protocol left out because their audio is bad: 00-b-0" in applied.notes
    with pytest.raises(CorpusError, match="fold 2 tests no usable clip of corpus 'made'"):
        apply_protocol(write(by="clip", folds=[folds[0][1:], ["00-b-0"]], never_tested=others), made)


def test_another_state_of_the_corpus_is_noted(corpus: Make, write: Write) -> None:
    table = {"name": "made", "n_clips": 70, "labels": ["b", "a", "c"], "fingerprint": "0"}
    notes = apply_protocol(write(folds=[["s0"], ["s1"]], corpus=table), corpus()).notes
    assert (
        "the protocol file was written for corpus 'made' with 70 clips, which differs from this one" in notes
    )
