from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marsbench.data.corpus import BadClip, CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.protocol_file import write_protocol_file
from marsbench.protocols.splitting import value_of

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


def grouped(folder: Path, together: list[str], folds: int = 3, more: str = "") -> str:
    path = folder / "groups.toml"
    path.write_text(f'name = "own"\ntogether = {together}\nfolds = {folds}\n{more}'.replace("'", '"'))
    return str(path)


@pytest.mark.parametrize(
    "together", [["speaker"], ["speaker", "label"], ["speaker", "part", "label"], ["part"]]
)
def test_clips_equal_in_all_attributes_of_together_are_in_one_part(
    corpus: Make, tmp_path: Path, together: list[str]
) -> None:
    made = corpus(attributes=lambda take: {"part": "xyz"[take % 3]})
    applied = apply_protocol(grouped(tmp_path, together), made)
    assert applied.together == tuple(together)
    write_protocol_file(tmp_path / "written.json", applied, made)
    read = apply_protocol(str(tmp_path / "written.json"), made)
    assert (read.hash, read.together) == (applied.hash, applied.together)
    assert len(applied.folds) == 3
    assert sorted(row for fold in applied.folds for row in fold.test) == list(range(len(made.clips)))
    for fold in applied.folds:
        trained, tested = (
            {tuple(value_of(made.clips[row], name) for name in together) for row in rows}
            for rows in (fold.train, fold.test)
        )
        assert trained.isdisjoint(tested)


def test_a_file_may_say_what_utterance5_does(corpus: Make, tmp_path: Path) -> None:
    made = corpus(
        n_takes=6, attributes=lambda take: {"statement": "ab"[take % 2], "channel": "cd"[take // 3]}
    )
    own = apply_protocol(grouped(tmp_path, ["speaker", "statement", "label", "channel"], 5), made)
    builtin = apply_protocol("utterance5", made)
    assert [fold.test.tolist() for fold in own.folds] == [fold.test.tolist() for fold in builtin.folds]


def test_groups_leave_out_clips_that_lack_an_attribute_or_are_not_asked_for(
    corpus: Make, tmp_path: Path
) -> None:
    made = corpus(attributes=lambda take: {"channel": "cd"[take % 2]} | ({"part": "x"} if take else {}))
    applied = apply_protocol(grouped(tmp_path, ["speaker", "part"], more='only = {channel = "c"}'), made)
    assert sum(len(fold.test) for fold in applied.folds) == 18
    assert "36 clips left out: only channel=c is used" in applied.notes
    assert "18 clips left out: they name no part" in applied.notes


@pytest.mark.parametrize(
    ("asked", "together", "message"),
    [
        ({}, ["speaker", "stat"], "own: clips of corpus 'made' have no attribute 'stat'"),
        ({"n_speakers": None}, ["speaker"], "own: clips of corpus 'made' have no attribute 'speaker'"),
        ({"n_speakers": 2}, ["speaker"], "own needs 3 groups of equal speaker; corpus 'made' has 2"),
    ],
)
def test_groups_that_a_corpus_does_not_have_are_one_line(
    corpus: Make, tmp_path: Path, asked: dict[str, Any], together: list[str], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        apply_protocol(grouped(tmp_path, together), corpus(**asked))
