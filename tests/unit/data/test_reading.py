"""Options of how a corpus is read, on corpora that are only listed."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.data.corpus import Clip, Corpus
from marsbench.data.corpus_options import Reading
from marsbench.data.labels import SYNONYMS, in_order, standard_name
from marsbench.data.reading import apply_reading
from marsbench.errors import ConfigError

IDS = ("s1/a1-W.wav", "s1/a2-F.wav", "s2/b1-W.wav", "s2/b2-F.wav", "s2/b3-N.wav")


def corpus(*labels: str, ids: tuple[str, ...] = IDS) -> Corpus:
    labels = labels or ("x", "y", "x", "y", "y")
    clips = [Clip(name, Path(name), label) for name, label in zip(ids, labels, strict=True)]
    return Corpus("listed", in_order(labels), tuple(clips))


def read(corpus: Corpus, **options: Any) -> Corpus:
    return apply_reading(corpus, Reading(**options))


def test_a_corpus_is_as_listed_unless_something_is_asked_for() -> None:
    assert read(corpus()) == corpus()


def test_expressions_name_speakers_and_classes_by_the_first_group_in_the_path() -> None:
    found = read(corpus(), speaker=r"^s(\d)", label=r"-(\w)\.wav$")
    assert [clip.speaker for clip in found.clips] == ["1", "1", "2", "2", "2"]
    assert [clip.label for clip in found.clips] == ["W", "F", "W", "F", "N"]
    assert found.labels == ("F", "N", "W")


@pytest.mark.parametrize("what", ["speaker", "label"])
def test_an_expression_that_does_not_match_every_clip_says_how_many_and_names_one(what: str) -> None:
    with pytest.raises(ConfigError, match=rf"^--{what} (.*) finds a {what} in 2 of 5 clips; none in s2/b1-W"):
        read(corpus(), **{what: "(s1)"})


@pytest.mark.parametrize(
    ("options", "labels", "n_clips", "notes"),
    [
        (
            {"map": "W=angry,F=happy,N=neutral"},
            ("neutral", "happy", "angry"),
            5,
            ("classes renamed by --map: W is angry, F is happy, N is neutral",),
        ),
        ({"map": "W=F"}, ("F", "N"), 5, ("classes renamed by --map: W is F",)),
        ({"map": "F=N,N=F"}, ("F", "N", "W"), 5, ("classes renamed by --map: F is N, N is F",)),
        ({"map": {"N": ""}}, ("F", "W"), 4, ("clips left out by --map: 1 of N",)),
        ({"map": {"W": "W"}}, ("F", "N", "W"), 5, ()),
        ({"classes": "W,F"}, ("W", "F"), 4, ("clips left out by --classes: 1 of N",)),
        ({"min_clips": 2}, ("F", "W"), 4, ("clips left out by --min-clips 2: 1 of N",)),
        ({"map": "N=W", "classes": ["W", "F"], "min_clips": 2}, ("W", "F"), 5, None),
    ],
)
def test_classes_are_renamed_joined_chosen_and_left_out_and_that_is_told(
    options: dict[str, Any], labels: tuple[str, ...], n_clips: int, notes: tuple[str, ...] | None
) -> None:
    found = read(corpus("W", "F", "W", "F", "N"), **options)
    assert (found.labels, len(found.clips)) == (labels, n_clips)
    assert notes is None or found.notes == notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "happpy=glad"}, r"^--map: Unknown class 'happpy'. Did you mean 'happy'\?"),
        ({"classes": "sad,mad"}, r"^--classes: Unknown class 'mad'. Did you mean 'sad'\?"),
        ({"map": "sad=", "classes": "sad,happy"}, r"^--classes: Unknown class 'sad'"),
        ({"map": "sad=happy,calm="}, r"^--map leaves happy of 3 classes \(calm, happy, sad\); at least two"),
        ({"min_clips": 9}, "^--min-clips 9 leaves none of 3 classes"),
        ({"classes": "sad"}, "^--classes leaves sad of 3 classes"),
    ],
)
def test_a_class_that_is_not_there_or_too_few_that_are_left_are_one_line(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(corpus("sad", "happy", "sad", "calm", "calm"), **options)


def test_a_corpus_gets_another_name() -> None:
    assert read(corpus(), name="mine").name == "mine"


@pytest.mark.parametrize(
    ("given_labels", "order"),
    [
        (("sad", "angry", "calm"), ("calm", "sad", "angry")),
        (("10", "2", "1"), ("1", "2", "10")),
        (("0.5", "-1", "10"), ("-1", "0.5", "10")),
        (("b", "10", "2"), ("10", "2", "b")),
        (("sad", "Zorn", "Angst"), ("Angst", "Zorn", "sad")),
    ],
)
def test_classes_stand_as_ravdess_has_them_by_size_or_by_the_alphabet(
    given_labels: tuple[str, ...], order: tuple[str, ...]
) -> None:
    assert in_order(given_labels) == order


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"map": "W"}, "write FROM=TO, such as happiness=happy,boredom= "),
        ({"map": "=happy"}, "write FROM=TO"),
        ({"map": "W=a,W=b"}, "the class 'W' is given twice"),
        ({"map": {"W": 3}}, "should be a valid string"),
        ({"name": "My Corpus"}, "a name of a-z, 0-9, - and _ is needed, such as my-corpus"),
        ({"label": ""}, "an expression is needed"),
        ({"label": "(a"}, "is not a regular expression: missing"),
        ({"min-clips": 0}, "should be greater than or equal to 1"),
        ({"classes": ""}, "should have at least 1 item"),
        ({"classes": "calm, calm,sad"}, "the class 'calm' is given twice"),
        ({"classes": ["calm", "sad", "calm"]}, "the class 'calm' is given twice"),
    ],
)
def test_an_option_without_a_meaning_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Reading.parse(values, "here")
    assert message in str(error.value)


def test_classes_with_commas_and_equals_signs_are_written_as_toml() -> None:
    parsed = Reading.parse({}, typed={"map": ['{"a,b" = "c", "d=e" = ""}', "W=x"], "classes": '["c", "x,y"]'})
    assert parsed.map == {"a,b": "c", "d=e": "", "W": "x"}
    assert parsed.classes == ("c", "x,y")


LABELS = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(LABELS, min_size=5, max_size=5), st.dictionaries(LABELS, LABELS | st.just("")))
def test_whatever_is_mapped_no_clip_is_lost_without_being_counted(
    labels: list[str], names: dict[str, str]
) -> None:
    if len(set(labels)) < 2:
        return
    before = corpus(*labels)
    try:
        found = read(before, map={name: to for name, to in names.items() if name in labels})
    except ConfigError:
        kept = {names.get(label, label) for label in labels} - {""}
        assert len(kept) < 2
        return
    assert [names.get(label, label) for label in labels if names.get(label) != ""] == [
        clip.label for clip in found.clips
    ]
    told = [int(count) for note in found.notes for count in re.findall(r"(\d+) of", note)]
    assert len(found.clips) + sum(told) == len(before.clips)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Happiness", "happy"),
        ("JOY", "happy"),
        ("happyness", "happy"),
        ("suprise", "surprised"),
        ("pleasant_surprise", "surprised"),
        ("Pleasant Surprise", "surprised"),
        ("ANG", "angry"),
        ("Fear", "fearful"),
        ("fearfull", "fearful"),
        (" sad ", "sad"),
        ("a\u0308rger", "angry"),
        ("Wütend", "angry"),
        ("traurig", "sad"),
        ("boredom", "bored"),
        ("danger", None),
        ("saw", None),
        ("x", None),
        ("", None),
    ],
)
def test_a_label_has_the_name_that_the_field_has_for_it(label: str, name: str | None) -> None:
    assert standard_name(label) == name


@pytest.mark.parametrize("name", SYNONYMS)
def test_no_word_means_two_emotions(name: str) -> None:
    assert [standard_name(word) for word in (name, *SYNONYMS[name])] == [name] * (1 + len(SYNONYMS[name]))


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (
            ("Angry", "angry", "x", "x", "y"),
            "'Angry' and 'angry'; if they are one class each: --map Angry=angry",
        ),
        (("happy", "happyness", "sad", "sad", "sad"), "--map happyness=happy"),
        (("Joy", "Joy", "happiness", "x", "x"), "--map happiness=Joy"),
        (("very odd", "Very_Odd", "Very_Odd", "x", "x"), "--map 'very odd=Very_Odd'"),
        (("Fear", "fear", "sadness", "sad", "sad"), "--map Fear=fear,sadness=sad"),
    ],
)
def test_classes_that_look_alike_are_pointed_out_with_the_option_that_joins_them(
    labels: tuple[str, ...], told: str
) -> None:
    (note,) = read(corpus(*labels)).notes
    assert note.startswith("classes whose names look alike: ")
    assert note.endswith(told)
    names = shlex.split(note.rpartition("--map ")[2])[0]
    assert len(read(corpus(*labels), map=names).labels) == len(set(labels)) - names.count("=")


@pytest.mark.parametrize(
    "labels",
    [
        ("1", "10", "1.0", "-1", "+1"),
        ("angry", "sad", "calm", "neutral", "happy"),
        ("class_a", "class_b", "state1", "state2", "c"),
        ("satisfied", "dissatisfied", "bored", "anxious", "fearful"),
    ],
)
def test_classes_that_only_resemble_each_other_are_left_alone(labels: tuple[str, ...]) -> None:
    assert read(corpus(*labels)).notes == ()
