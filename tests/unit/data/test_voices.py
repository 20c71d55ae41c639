"""Who speaks the clips, what follows for a verdict, and speakers that stand in names."""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.protocols import checked
from marsbench.data.corpus import Clip
from marsbench.data.reading import found_in
from marsbench.data.voices import Voices, limits, voice_notes, voices_of

LABELS = ("happy", "sad", "angry", "calm")
Pairs = Sequence[tuple[str | None, int]]


def voices(pairs: Pairs) -> Voices:
    return voices_of([target for _, target in pairs], [speaker for speaker, _ in pairs], LABELS)


def said(pairs: Pairs, *, by_speaker: bool = False, independent: bool = False) -> str:
    return "; ".join(limits(voices(pairs), by_speaker=by_speaker, independent=independent))


def balanced(n_speakers: int, n_takes: int = 3) -> list[tuple[str | None, int]]:
    return [(f"s{s}", c) for s in range(n_speakers) for c in range(4) for _ in range(n_takes)]


ONE_CLASS: Pairs = [(f"s{s}", s % 4) for s in range(25) for _ in range(6)] + [
    (f"m{s}", c) for s in range(4) for c in range(4) for _ in range(6)
]
NEARLY: Pairs = [(f"s{s}", s % 4 if n else (s + 1) % 4) for s in range(24) for n in range(10)]
FOUR_CARRY_ONE: Pairs = [(f"s{s}", 0) for s in range(25) for _ in range(8)] + [
    (f"m{s}", c) for s in range(4) for c in (0, 1, 1, 1, 2, 2, 2, 3, 3, 3)
]
UNKNOWN: Pairs = [(None, row % 4) for row in range(40)]


def test_speakers_are_counted_by_class_and_those_with_one_class_alone() -> None:
    found = voices([("x", 0), ("x", 0), ("y", 0), ("y", 1), ("z", 1), (None, 2)])
    assert [entry.n_speakers for entry in found.classes] == [2, 2, 0, 0]
    assert [entry.n_alone for entry in found.classes] == [1, 0, 0, 0]  # one clip alone tells no other clip
    assert (found.n_speakers, found.n_unknown) == (3, 1)


@pytest.mark.parametrize(
    ("pairs", "because"),
    [
        (balanced(24), ""),
        (balanced(2, 30), ""),
        ([(f"s{s}", int(n == 0)) for s in range(60) for n in range(9)], ""),  # a rare class
        ([(f"s{row}", row % 4) for row in range(40)], ""),
        (ONE_CLASS, "25 of 29 speakers have clips of one class alone"),
        (NEARLY, "most others have mostly one"),
        (FOUR_CARRY_ONE, "25 of 29 speakers have clips of one class alone (happy 25)"),
        (balanced(1), "all clips are of one speaker"),
        ([*balanced(12)[: -3 * 4], *((f"s{s}", 0) for s in range(9)), ("x", 3)], ""),
        ([(s, c) for s, c in balanced(9) if c != 3 or s == "s1"], "one speaker has all clips of calm"),
        (UNKNOWN, "no speaker is known"),
        ([*UNKNOWN, *balanced(3, 1)], "no speaker is known"),
        ([*UNKNOWN[:10], *balanced(12)], ""),
    ],
)  # fmt: skip
def test_what_voices_hide_keeps_a_verdict_from_pass_where_train_and_test_share_speakers(
    pairs: Pairs, because: str
) -> None:
    assert because in said(pairs)
    assert bool(said(pairs)) == bool(because)


@pytest.mark.parametrize("pairs", [ONE_CLASS, NEARLY, FOUR_CARRY_ONE])
def test_voices_that_are_classes_do_no_harm_where_speakers_are_kept_apart(pairs: Pairs) -> None:
    assert said(pairs, by_speaker=True) == ""


def test_clips_that_are_declared_independent_are_believed_where_no_speaker_is_known() -> None:
    assert said(UNKNOWN, independent=True) == ""
    assert said(ONE_CLASS, independent=True) != ""


@settings(max_examples=25)
@given(st.integers(2, 12), st.integers(1, 9))
def test_speakers_that_have_all_classes_alike_tell_none(n_speakers: int, n_takes: int) -> None:
    pairs = balanced(n_speakers, n_takes)
    assert voices(pairs).told == 0
    assert not voices(pairs).tell_classes


@settings(max_examples=25)
@given(st.integers(2, 12), st.integers(2, 9), st.permutations(range(4)))
def test_speakers_of_one_class_tell_it_always(n_speakers: int, n_takes: int, order: list[int]) -> None:
    pairs = [(f"s{s}", order[s % 4]) for s in range(n_speakers) for _ in range(n_takes)]
    assert voices(pairs).told == pytest.approx(1)
    assert voices(pairs).alone == 1


# Notes


def notes(names: Sequence[str], targets: Sequence[int], speakers: Sequence[str | None] = ()) -> str:
    named = speakers or [None] * len(names)
    clips = [
        Clip(name, Path(), LABELS[target], speaker)
        for name, target, speaker in zip(names, targets, named, strict=True)
    ]
    return "; ".join(voice_notes(checked(clips, LABELS)))


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (UNKNOWN, ["no speaker is known:", "at most UNDECIDED", "--speaker REGEX", "--independent-clips"]),
        ([*UNKNOWN, *balanced(3, 1)], ["no speaker is known of 40 of 52 clips"]),
        ([*UNKNOWN[:3], *balanced(12)], ["3 of 147 clips have no speaker"]),
        (FOUR_CARRY_ONE, ["few of the 29 speakers", "sad 4, angry 4, calm 4", "one class alone (happy 25)"]),
    ],
)
def test_what_is_to_know_of_the_speakers_is_said_before_a_run(pairs: Pairs, words: list[str]) -> None:
    names = [f"{row}" for row in range(len(pairs))]
    told = notes(names, [target for _, target in pairs], [speaker for speaker, _ in pairs])
    assert [word for word in words if word not in told] == []


def test_nothing_is_said_of_speakers_who_have_all_classes() -> None:
    pairs = balanced(24)
    assert notes([str(row) for row in range(288)], [c for _, c in pairs], [s for s, _ in pairs]) == ""


SPEAKERS = ("anna", "bert", "cleo", "dora", "emil", "fred")


@pytest.mark.parametrize(
    "name",
    [
        lambda s, c, n: f"{SPEAKERS[s]}/{LABELS[c]}_{n}.wav",
        lambda s, c, n: f"{LABELS[c]}/{SPEAKERS[s]}/{n}.wav",
        lambda s, c, n: f"{LABELS[c]}/{SPEAKERS[s]}_{n:03}.wav",
        lambda s, c, n: f"{SPEAKERS[s]}-{LABELS[c]}-{n}.wav",
        lambda s, c, n: f"0{s}a{n:02}{'FWTN'[c]}b.wav",
        lambda s, c, n: f"03-01-0{c}-0{n // 4}-0{n // 2 % 2}-0{n % 2}-{s + 10}.wav",
        lambda s, c, n: f"{LABELS[c]}_{n % 4}_spk{s}_{n}.wav",
        lambda s, c, n: f"{LABELS[c]}/x.y/{SPEAKERS[s].upper()}{n:02}.flac",
        lambda s, c, n: f"Ärger {c}/Jörg{'äöüßéè'[s]} {n}.wav",
    ],
)
def test_the_expression_that_is_proposed_finds_the_speakers_of_names(
    name: Callable[[int, int, int], str],
) -> None:
    made = [(s, c, n) for s in range(6) for c in range(4) for n in range(8)]
    names = [name(*one) for one in made]
    told = notes(names, [c for _, c, _ in made])
    pattern = shlex.split(told[told.index("--speaker '") :])[1]
    found = found_in("speaker", pattern, names)
    pairs = {(speaker, s) for speaker, (s, _, _) in zip(found, made, strict=True)}
    assert len(pairs) == len({s for _, s in pairs}) == len({speaker for speaker, _ in pairs}) == 6


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        (r"{c}/s{s:02}_{n:03}.wav", r"(s\d+)"),
        (r"{c}/actor_{s}/{n:03}.wav", r"(actor_\d+)"),
        (r"{c}/s{s}_{n}_s{n}.wav", r"(s\d+)"),
        (r"mos{n}/{c}/s{s}_{n}.wav", r"(?:^|/)([^-_ ./]+)[^/]*$"),
    ],
)
def test_an_expression_is_proposed_in_its_shortest_form(name: str, proposed: str) -> None:
    made = [(s, c, n) for s in range(6) for c in range(4) for n in range(8)]
    names = [name.format(s=s, c=LABELS[c], n=n) for s, c, n in made]
    assert notes(names, [c for _, c, _ in made]).endswith(f"--speaker {shlex.quote(proposed)}")


@pytest.mark.parametrize(
    "name",
    [
        lambda c, n: f"{LABELS[c]}/clip{n:04}.wav",
        lambda c, n: f"{LABELS[c]}_{n}.wav",
        lambda c, n: f"part{c}/{n}.wav",
        lambda c, n: f"{n * 7919 % 10007:x}.wav",  # noqa: ARG005
    ],
)
def test_nothing_is_proposed_where_names_tell_no_speaker(name: Callable[[int, int], str]) -> None:
    rows = [(row % 4, row) for row in range(120)]
    assert "Names look like" not in notes([name(*row) for row in rows], [c for c, _ in rows])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "( is not a regular expression: "),
        ("spk", "spk finds a speaker in no clip"),
        ("(actor)", "(actor) finds a speaker in no clip; none in s1_a.wav"),
        ("(s1)", "(s1) finds a speaker in 1 of 2 clips; none in s2_a.wav"),
        ("s(x?)", "s(x?) finds a speaker in no clip; none in s1_a.wav"),
    ],
)
def test_an_expression_must_find_a_speaker_in_every_name(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        found_in("speaker", pattern, ["s1_a.wav", "s2_a.wav"])


def test_many_speakers_are_counted_fast() -> None:
    targets = np.arange(40_000) % 4
    assert voices_of(targets.tolist(), [f"s{row // 2}" for row in range(40_000)], LABELS).n_speakers == 20_000
