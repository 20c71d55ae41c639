import errno
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from marsbench.data.audio_validation import examine
from marsbench.data.corpus import Corpus
from marsbench.data.labels import EMOTIONS
from marsbench.errors import ConfigError, CorpusError
from marsbench_plugins import synthesis
from marsbench_plugins.datasets import demo
from marsbench_plugins.datasets.demo import Demo
from marsbench_plugins.datasets.folder import Folder

SMALL = {"n_speakers": 2, "n_takes": 1}


def audio_of(corpus: Corpus) -> dict[str, bytes]:
    return {clip.id: clip.path.read_bytes() for clip in corpus.clips}


def count_voices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list to which every clip that is synthesised from now on adds its emotion."""
    spoken: list[str] = []

    def speak(*arguments: Any) -> Any:
        spoken.append(arguments[1])
        return synthesis.speak(*arguments)

    monkeypatch.setattr(demo, "speak", speak)
    return spoken


def test_each_speaker_speaks_each_emotion_as_often_as_asked() -> None:
    corpus = Demo(n_speakers=2, n_takes=2).load()

    assert corpus.synthetic
    assert corpus.labels == EMOTIONS
    assert set(Counter((clip.speaker, clip.label) for clip in corpus.clips).values()) == {2}
    assert {clip.speaker for clip in corpus.clips} == {"S01", "S02"}


def test_each_take_is_another_statement() -> None:
    clips = Demo(n_speakers=1, n_takes=4).load().clips

    said = {(clip.attributes["take"], clip.attributes["statement"]) for clip in clips}
    assert said == set(zip("1234", (*synthesis.SENTENCES, synthesis.SENTENCES[0]), strict=True))


def test_every_clip_passes_the_audio_check_and_no_two_are_the_same() -> None:
    facts = [examine(clip.path) for clip in Demo(**SMALL).load().clips]

    assert {fact.problem for fact in facts} == {None}
    assert {(fact.sample_rate, fact.channels) for fact in facts} == {(22_050, 1)}
    assert len({fact.content for fact in facts}) == len(facts)


def test_equal_seeds_give_equal_bytes_in_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = audio_of(Demo(**SMALL).load())
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "elsewhere"))

    assert audio_of(Demo(**SMALL).load()) == first


def test_another_seed_gives_other_audio_under_the_same_names() -> None:
    first, second = (audio_of(Demo(**SMALL, seed=seed).load()) for seed in (0, 1))

    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_more_speakers_and_takes_leave_the_others_as_they_are() -> None:
    few, many = audio_of(Demo(**SMALL).load()), audio_of(Demo(n_speakers=3, n_takes=2).load())

    assert few.items() < many.items()


def test_audio_that_is_there_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Demo(**SMALL).load()
    spoken = count_voices(monkeypatch)

    Demo(**SMALL).load()

    assert spoken == []


def test_an_interrupted_generation_leaves_nothing_and_is_never_used(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(demo, "_put_in_place", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            Demo(**SMALL).load()
    assert list((home / "demo").iterdir()) == []

    assert all(clip.path.is_file() for clip in Demo(**SMALL).load().clips)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_corpus_with_a_lost_or_emptied_file_is_made_again(damage: Any) -> None:
    whole = audio_of(corpus := Demo(**SMALL).load())
    damage(corpus.clips[3].path)

    assert audio_of(Demo(**SMALL).load()) == whole


def test_processes_that_race_all_get_the_whole_corpus(home: Path) -> None:
    program = (
        "from marsbench_plugins.datasets.demo import Demo\n"
        "clips = Demo(n_speakers=2, n_takes=1).load().clips\n"
        "print(sum(len(clip.path.read_bytes()) > 44 for clip in clips))"
    )
    command = [sys.executable, "-c", program]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    assert [racer.communicate(timeout=60)[0] for racer in racers] == ["16\n", "16\n"]
    assert len(list((home / "demo").iterdir())) == 1


def test_a_full_disk_is_one_line_that_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(demo, "_write_wav", write)

    with pytest.raises(CorpusError, match="No space left on device; set MARSBENCH_HOME"):
        Demo(**SMALL).load()


@pytest.mark.parametrize(
    "parameters", [{"n_speakers": 0}, {"n_takes": -1}, {"seed": -1}, {"n_takes": 1.5}, {"n_speakers": True}]
)
def test_a_parameter_that_makes_no_corpus_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=f"{next(iter(parameters))} ?=.*a whole number (of at least|is needed)"
    ):
        Demo.create(parameters)


def test_the_folder_dataset_reads_the_same_corpus_from_its_files() -> None:
    corpus = Demo(**SMALL).load()
    root = corpus.clips[0].path.parents[1]
    read = Folder(str(root), speaker=r"S\d+").load()

    assert read.labels == corpus.labels
    assert {(c.id, c.label, c.speaker) for c in read.clips} == {
        (c.id, c.label, c.speaker) for c in corpus.clips
    }
