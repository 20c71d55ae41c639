"""Protocols over the parts of a joined corpus."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fixtures.protocols import LABELS, checked, made_corpus
from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import BenchError, ConfigError, CorpusError
from marsbench.protocols.apply import apply_protocol, find_protocol, listed_protocols, with_members
from marsbench.protocols.inner_splits import inner_folds, validation_split
from marsbench.protocols.protocol import Protocol
from marsbench.protocols.protocol_file import write_protocol_file


def joined(
    speakers: dict[str, int], duplicates: Sequence[tuple[int, int]] = (), nameless: str = ""
) -> CheckedCorpus:
    """Four takes of each class by each speaker of each corpus."""
    clips = [
        Clip(
            f"{name}/{speaker}-{label}-{take}",
            Path(),
            label,
            None if name == nameless else f"{name}/{speaker}",
            {"corpus": name},
        )
        for name, count in speakers.items()
        for speaker in range(count)
        for label in LABELS
        for take in range(4)
    ]
    return checked(clips, duplicates=duplicates)


THREE = joined({"a": 5, "b": 6, "c": 7})
ALL = ["across", "from_a", "from_b", "from_c", "within5"]


def corpora(protocol: Protocol) -> list[tuple[str, str]]:
    return [("".join(fold.train), "".join(fold.test)) for fold in protocol.corpora]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("across", [("bc", "a"), ("ac", "b"), ("ab", "c")]),
        ("from_b", [("b", "a"), ("b", "c")]),
        ("within5", [(name, name) for name in "abc" for _ in range(5)]),
        ("within2", [(name, name) for name in "abc" for _ in range(2)]),
    ],
    ids=["across", "from", "within5", "within2"],
)
def test_each_fold_trains_on_and_tests_the_corpora_that_its_name_says(
    name: str, expected: list[tuple[str, str]]
) -> None:
    assert corpora(apply_protocol(name, THREE)) == expected


@pytest.mark.parametrize("name", ALL)
def test_every_clip_is_tested_at_most_once_and_no_speaker_is_on_both_sides(name: str) -> None:
    applied = apply_protocol(name, THREE)
    tested = np.concatenate([fold.test for fold in applied.folds])
    n_expected = len(THREE.clips) - (
        name.startswith("from_") * sum(clip.id.startswith(name[-1]) for clip in THREE.clips)
    )
    assert len(tested) == len(set(tested.tolist())) == n_expected
    for fold in applied.folds:
        speakers = np.array(THREE.speakers)
        assert set(speakers[fold.train]).isdisjoint(speakers[fold.test])
    assert applied.by_speaker


@pytest.mark.parametrize("name", ALL)
def test_splits_of_training_clips_keep_speakers_together(name: str) -> None:
    applied, speakers = apply_protocol(name, THREE), np.array(THREE.speakers)
    for fold in applied.folds:
        inner = inner_folds(THREE, fold.train, applied.together, 3, 0)
        fit, aside = validation_split(THREE, fold.train, applied.together, 0)
        for train, test in [*((one.train, one.test) for one in inner), (fit, aside)]:
            assert set(speakers[train]).isdisjoint(speakers[test])


@pytest.mark.parametrize("name", [*ALL, "across_pairs"])
def test_a_single_corpus_is_refused_in_one_line_that_says_how_to_give_two(name: str) -> None:
    with pytest.raises(CorpusError, match="--data twice or more") as caught:
        apply_protocol(name, made_corpus())
    assert "\n" not in str(caught.value)


def test_across_pairs_stands_for_within_and_each_corpus_alone() -> None:
    found = with_members(
        {"across_pairs": find_protocol("across_pairs"), "loso": find_protocol("loso")}, THREE
    )
    assert list(found) == ["within5", "from_a", "from_b", "from_c", "loso"]
    assert [definition.name for definition in found.values()] == list(found)


def test_across_pairs_by_itself_is_no_protocol() -> None:
    with pytest.raises(ConfigError, match="name one of them: within5, from_a, from_b, from_c"):
        apply_protocol("across_pairs", THREE)


def test_an_unknown_corpus_is_told_with_those_that_there_are() -> None:
    with pytest.raises(BenchError, match="from_aa: Unknown corpus 'aa'"):
        apply_protocol("from_aa", THREE)


def test_a_copy_in_another_corpus_is_left_out_of_training() -> None:
    made = joined({"a": 5, "b": 6}, duplicates=[(3, 70)])
    for name in ("across", "from_a", "from_b"):
        applied = apply_protocol(name, made)
        assert applied.leakage.dropped_duplicates
        for fold in applied.folds:
            assert {3, 70} - set(fold.train.tolist())
            assert not {3, 70} & set(fold.test.tolist()) or not {3, 70} & set(fold.train.tolist())


def test_a_corpus_without_speakers_is_one_group_and_that_is_told() -> None:
    made = joined({"a": 5, "b": 6, "c": 3}, nameless="c")
    applied = apply_protocol("across", made)
    assert (applied.together, applied.by_speaker) == (("speaker", "corpus"), False)
    assert "c does not name all speakers; splits of training clips keep all of c together" in str(
        applied.notes
    )
    with pytest.raises(CorpusError, match="names no speaker"):
        apply_protocol("within5", made)


def test_a_corpus_of_few_speakers_has_as_many_folds_and_of_one_is_refused() -> None:
    applied = apply_protocol("within5", joined({"a": 5, "b": 3}))
    assert corpora(applied) == [("a", "a")] * 5 + [("b", "b")] * 3
    assert "b has 3 speakers, so as many folds" in applied.notes
    with pytest.raises(CorpusError, match="2 speakers of each corpus; b has 1"):
        apply_protocol("within5", joined({"a": 5, "b": 1}))


def test_they_are_listed() -> None:
    names = {definition.name for definition in listed_protocols()}
    assert {"across", "across_pairs", "from_NAME", "within5"} <= names


@pytest.mark.parametrize(
    ("name", "is_written"), [("across", True), ("from_a", False), ("within5", False)], ids=ALL[:2] + ALL[4:]
)
def test_only_splits_that_a_file_can_say_are_written(tmp_path: Path, name: str, is_written: bool) -> None:
    applied, path = apply_protocol(name, THREE), tmp_path / "splits.json"
    if not is_written:
        with pytest.raises(ConfigError, match="cannot be written to a file"):
            write_protocol_file(path, applied, THREE)
        return
    write_protocol_file(path, applied, THREE)
    assert apply_protocol(str(path), THREE).hash == applied.hash
