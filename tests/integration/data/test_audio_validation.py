import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from marsbench.atomic_files import home, read_checksummed, write_checksummed
from marsbench.data import audio_validation
from marsbench.data.audio_validation import (
    Examiner,
    Sources,
    check_audio,
    describe_bad,
    examine_file,
    examined_here,
)
from marsbench.data.corpus import AudioFacts, BadClip, CheckedCorpus, Clip, Corpus
from marsbench.errors import CorpusError


def write_tone(path: Path, pitch: int, seconds: float = 0.2) -> None:
    times = np.arange(int(8_000 * seconds)) / 8_000
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch * times), 8_000)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Six good clips of two classes."""
    for number in range(6):
        write_tone(tmp_path / f"{number}.wav", 200 + 100 * number)
    paths = [tmp_path / f"{number}.wav" for number in range(6)]
    clips = [Clip(path.name, path, ("low", "high")[row // 3]) for row, path in enumerate(paths)]
    return Corpus("tones", ("low", "high"), tuple(clips))


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were opened."""
    names: list[str] = []

    def listening(sources: Sources) -> list[AudioFacts]:
        names.append(sources[0].path.name)
        return examine_file(sources)

    monkeypatch.setattr(audio_validation, "examine_file", listening)
    return names


def spoil(corpus: Corpus, *rows: int) -> None:
    for row in rows:
        corpus.clips[row].path.write_bytes(b"")


def ids(checked: CheckedCorpus) -> list[str]:
    return [clip.id for clip in checked.clips]


def test_every_clip_of_a_good_corpus_is_kept_with_its_facts(corpus: Corpus) -> None:
    checked = check_audio(corpus, "fail")
    assert checked.clips == corpus.clips
    assert checked.bad == ()
    assert {(facts.sample_rate, facts.channels, facts.seconds) for facts in checked.facts} == {
        (8_000, 1, 0.2)
    }


def test_bad_clips_are_left_out_and_named_with_their_reasons(corpus: Corpus) -> None:
    spoil(corpus, 1)
    corpus.clips[4].path.unlink()
    checked = check_audio(corpus)
    assert ids(checked) == ["0.wav", "2.wav", "3.wav", "5.wav"]
    assert len(checked.facts) == 4
    assert checked.bad == (BadClip("1.wav", "empty: 0 bytes"), BadClip("4.wav", "no such file"))


def test_bad_clips_end_the_run_where_that_was_asked(corpus: Corpus) -> None:
    spoil(corpus, 1)
    with pytest.raises(
        CorpusError, match=r"1 bad audio file \(1.wav: empty: 0 bytes\); repair or remove them"
    ):
        check_audio(corpus, "fail")


def test_a_class_that_loses_all_its_clips_is_named(corpus: Corpus) -> None:
    spoil(corpus, 3, 4, 5)
    with pytest.raises(
        CorpusError, match=r"no usable clip of class 'high': 3 bad audio files \(3.wav: empty"
    ):
        check_audio(corpus)


def test_a_class_that_never_had_a_clip_is_named(corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match=r"no usable clip of class 'odd'$"):
        check_audio(Corpus("tones", ("low", "high", "odd"), corpus.clips))


def test_only_the_first_few_bad_clips_are_spelt_out() -> None:
    bad = tuple(BadClip(str(number), "empty") for number in range(12))
    assert describe_bad(bad).startswith("12 bad audio files (0: empty; 1: empty")
    assert describe_bad(bad).endswith("; and 7 more)")


def test_the_order_of_clips_does_not_matter(corpus: Corpus) -> None:
    backwards = Corpus("tones", corpus.labels, corpus.clips[::-1])
    assert ids(check_audio(backwards)) == ids(check_audio(corpus))
    assert check_audio(backwards).fingerprint == check_audio(corpus).fingerprint


def test_an_unchanged_corpus_is_not_opened_again(corpus: Corpus, examined: list[str]) -> None:
    first = check_audio(corpus)
    assert sorted(examined) == ids(first)
    examined.clear()
    assert check_audio(corpus) == first
    assert examined == []


def test_only_what_has_changed_is_opened_again(corpus: Corpus, examined: list[str]) -> None:
    before = check_audio(corpus)
    examined.clear()
    write_tone(corpus.clips[2].path, 1_000, seconds=0.3)
    after = check_audio(corpus)
    assert examined == ["2.wav"]
    assert after.facts[2].seconds == 0.3
    assert after.fingerprint != before.fingerprint


def test_a_change_that_sets_the_old_size_and_time_is_seen(corpus: Corpus, examined: list[str]) -> None:
    path = corpus.clips[2].path
    before, status = check_audio(corpus), path.stat()
    examined.clear()
    write_tone(path, 1_000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert check_audio(corpus).fingerprint != before.fingerprint
    assert (path.stat().st_size, examined) == (status.st_size, ["2.wav"])


def test_a_mended_clip_is_used_again(corpus: Corpus) -> None:
    spoil(corpus, 2)
    assert len(check_audio(corpus).bad) == 1
    write_tone(corpus.clips[2].path, 400)
    assert check_audio(corpus).bad == ()


def test_a_clip_that_could_not_be_read_is_tried_again(corpus: Corpus, examined: list[str]) -> None:
    corpus.clips[2].path.unlink()
    check_audio(corpus)
    examined.clear()
    check_audio(corpus)
    assert examined == ["2.wav"]


def test_what_was_found_before_ctrl_c_is_not_looked_for_again(corpus: Corpus, examined: list[str]) -> None:
    def interrupted(files: Sequence[Sources]) -> Iterator[list[AudioFacts]]:
        yield from examined_here(files[:4])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_audio(corpus, examiner=Examiner("Checking audio", interrupted))
    examined.clear()
    assert check_audio(corpus).clips == corpus.clips
    assert sorted(examined) == ["4.wav", "5.wav"]


def truncate(text: str) -> str:
    return text[: len(text) // 2]


def as_list(text: str) -> str:
    return f"[{text}]"


def with_unknown_fact(text: str) -> str:
    return text.replace('"channels"', '"tracks"')


def of_another_decoder(text: str) -> str:
    return text.replace('"version": "', '"version": "x')


@pytest.mark.parametrize("damage", [truncate, as_list, with_unknown_fact, of_another_decoder])
@pytest.mark.parametrize("write", [write_checksummed, Path.write_text])
def test_a_damaged_cache_of_facts_is_computed_again(
    write: Callable[[Path, str], object], damage: Callable[[str], str], corpus: Corpus, examined: list[str]
) -> None:
    first = check_audio(corpus)
    (cache,) = (home() / "audio").iterdir()
    write(cache, damage(read_checksummed(cache).decode()))
    examined.clear()
    assert check_audio(corpus) == first
    assert sorted(examined) == ids(first)


def test_clips_far_beyond_full_scale_are_noted(corpus: Corpus, tmp_path: Path) -> None:
    samples, rate = soundfile.read(tmp_path / "3.wav")
    soundfile.write(tmp_path / "3.wav", 32_767 * samples, rate, subtype="FLOAT")
    notes = check_audio(corpus).corpus.notes

    assert len(notes) == 1
    assert "far beyond full scale, probably unscaled integers stored as floats: 1, such as 3.wav" in notes[0]
