"""The published folds, on a made corpus and on RAVDESS, whose clips are opened in slow tests alone."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from marsbench.data.audio_validation import check_audio
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.progress import Silent
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.protocol import Protocol
from marsbench_plugins.datasets.ravdess import Ravdess

Make = Callable[..., CheckedCorpus]
PRINTED = {
    "emobox6": "1,11,20,21 | 4,10,12,14 | 8,9,19,23 | 3,5,7,24 | 2,15,16,18 | 6,13,17,22",
    "luna5": "2,5,14,15,16 | 3,6,7,13,18 | 10,11,12,19,20 | 8,17,21,23,24 | 1,4,9,22",
}


def actors_tested(protocol: Protocol, corpus: CheckedCorpus) -> list[set[str | None]]:
    return [{corpus.speakers[row] for row in fold.test} for fold in protocol.folds]


def printed(name: str) -> list[set[str]]:
    return [{f"Actor_{int(n):02}" for n in re.findall(r"\d+", fold)} for fold in PRINTED[name].split("|")]


@pytest.mark.parametrize("name", PRINTED)
def test_the_folds_are_those_in_print(ravdess: Make, name: str) -> None:
    made = ravdess()
    assert actors_tested(apply_protocol(name, made), made) == printed(name)


@pytest.mark.parametrize("name", PRINTED)
def test_every_spoken_clip_is_tested_once_by_a_fold_that_knows_nothing_of_its_speaker(
    ravdess: Make, name: str
) -> None:
    made = ravdess()
    applied = apply_protocol(name, made)
    tested = sorted(row for fold in applied.folds for row in fold.test)
    assert tested == [row for row, clip in enumerate(made.clips) if clip.attributes["channel"] == "speech"]
    assert applied.by_speaker
    assert applied.leakage.speakers_shared == 0
    assert "192 clips left out: only channel=speech is used" in applied.notes


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("lacking", [1, 16, 24])
def test_an_actor_who_is_not_there_is_named(ravdess: Make, name: str, lacking: int) -> None:
    made = ravdess([actor for actor in range(1, 25) if actor != lacking])
    with pytest.raises(
        CorpusError, match=f"{name} lists speaker 'Actor_{lacking:02}'; corpus 'made' has no clip of it"
    ):
        apply_protocol(name, made)


@pytest.mark.parametrize("name", PRINTED)
def test_another_corpus_is_refused_in_one_line(corpus: Make, name: str) -> None:
    with pytest.raises(CorpusError, match=f"{name}: clips of corpus 'made' have no attribute 'channel'"):
        apply_protocol(name, corpus())


@pytest.mark.skipif("MARSBENCH_RAVDESS" not in os.environ, reason="MARSBENCH_RAVDESS names no folder")
@pytest.mark.parametrize("name", PRINTED)
def test_the_folds_in_print_are_made_of_the_names_of_ravdess(of_clips: Make, name: str) -> None:
    found = Ravdess(os.environ["MARSBENCH_RAVDESS"]).load()
    corpus = of_clips(found.clips, found.labels)
    applied = apply_protocol(name, corpus)
    assert actors_tested(applied, corpus) == printed(name)
    assert sum(len(fold.test) for fold in applied.folds) == 1440


@pytest.fixture(scope="module")
def real_ravdess(tmp_path_factory: pytest.TempPathFactory) -> CheckedCorpus:
    """Every clip opened, once for all tests."""
    if "MARSBENCH_RAVDESS" not in os.environ:
        pytest.skip("MARSBENCH_RAVDESS names no folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        return check_audio(Ravdess(os.environ["MARSBENCH_RAVDESS"]).load(), "fail", Silent())


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_the_folds_in_print_are_made_of_ravdess(real_ravdess: CheckedCorpus, name: str) -> None:
    corpus = real_ravdess
    applied = apply_protocol(name, corpus)
    assert actors_tested(applied, corpus) == printed(name)
    assert sum(len(fold.test) for fold in applied.folds) == 1440
    assert applied.leakage.speakers_shared == 0
    assert len(applied.leakage.exact_groups) == 1
    assert Path(corpus.clips[0].id).parts[0] == "song"


@pytest.mark.slow
def test_the_exact_duplicate_that_ravdess_was_published_with_is_found(real_ravdess: CheckedCorpus) -> None:
    (pair,) = real_ravdess.duplicates
    assert real_ravdess.exact_duplicates == real_ravdess.duplicates
    names = [real_ravdess.clips[row].id.rpartition("/")[2] for row in pair]
    assert names == ["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]
    assert sum(facts.seconds for facts in real_ravdess.facts) == pytest.approx(10_034, abs=1)
