import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations, pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.atomic_files import home, read_checksummed, write_checksummed
from marsbench.data import duplicates, near_pairs
from marsbench.data.audio import decode, read_bytes
from marsbench.data.audio_validation import check_audio
from marsbench.data.corpus import CheckedCorpus, Clip, ClipSource, Corpus
from marsbench.data.labels import EMOTIONS
from marsbench.errors import AudioError
from marsbench.progress import Advance
from marsbench.protocols.apply import apply_protocol
from marsbench_plugins.datasets.demo import Demo
from marsbench_plugins.datasets.ravdess import Ravdess
from marsbench_plugins.synthesis import SAMPLE_RATE, SENTENCES, Speaker, speak

Samples = NDArray[np.float32]
Change = Callable[[Samples, int, np.random.Generator], Samples]


def resampled(samples: Samples, rate: int, _: np.random.Generator) -> Samples:
    at_48k = soxr.resample(samples, rate, 48_000)
    return np.asarray(soxr.resample(soxr.resample(at_48k, 48_000, 16_000), 16_000, rate), np.float32)


def trimmed(samples: Samples, _rate: int, rng: np.random.Generator) -> Samples:
    """All before and behind what is louder than some 30 to 45 dB below the loudest."""
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() * 10 ** (rng.uniform(-45, -30) / 20))
    return samples[loud[0] : loud[-1] + 1]


def louder(samples: Samples, _rate: int, _: np.random.Generator) -> Samples:
    """6 dB above full scale, and cut off there."""
    return np.asarray(np.clip(samples / np.abs(samples).max() * 2, -1, 1), np.float32)


def quieter(samples: Samples, _rate: int, _: np.random.Generator) -> Samples:
    return np.asarray(samples / 2, np.float32)


def scaled(samples: Samples, gain: float) -> Samples:
    return np.asarray(samples * gain, np.float32)


def vorbis(samples: Samples, rate: int, _: np.random.Generator) -> Samples:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="OGG", subtype="VORBIS")
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0], np.float32)


def mp3(samples: Samples, rate: int, _: np.random.Generator) -> Samples:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="MP3")
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0], np.float32)


def later(samples: Samples, _rate: int, _: np.random.Generator) -> Samples:
    """By a hundredth of the clip."""
    shift = len(samples) // 100
    return np.pad(samples, (shift, 0))[: len(samples)]


def earlier(samples: Samples, _rate: int, _: np.random.Generator) -> Samples:
    return samples[len(samples) // 100 :]


CHANGES: tuple[Change, ...] = (resampled, trimmed, louder, quieter, vorbis, mp3, later, earlier)


def apart(first: Change, second: Change) -> bool:
    return {first.__name__, second.__name__} not in ({"louder", "quieter"}, {"later", "earlier"})


ALL = [(one,) for one in CHANGES] + [pair for pair in permutations(CHANGES, 2) if apart(*pair)]


SOME = ALL[: len(CHANGES)] + [pair for pair in pairwise((*CHANGES, CHANGES[0])) if apart(*pair)]


def name_of(changes: tuple[Change, ...]) -> str:
    return "+".join(change.__name__ for change in changes)


def changed(samples: Samples, rate: int, changes: tuple[Change, ...], rng: np.random.Generator) -> Samples:
    for change in changes:
        samples = change(samples, rate, rng)
    return samples


@pytest.fixture(scope="module")
def spoken() -> tuple[Samples, ...]:
    """Sixteen clips of two synthetic voices."""
    voices = [Speaker.draw(0, number) for number in (1, 2)]
    takes = [
        speak(voice, emotion, SENTENCES[0], np.random.default_rng(number))
        for number, voice in enumerate(voices)
        for emotion in EMOTIONS
    ]
    return tuple((take / 32_768).astype(np.float32) for take in takes)


@pytest.fixture
def corpus(tmp_path: Path, spoken: tuple[Samples, ...]) -> Corpus:
    """Those clips as files, of two classes."""
    return with_clips(None, tmp_path, {f"{row:02}": samples for row, samples in enumerate(spoken)})


def with_clips(
    corpus: Corpus | None, folder: Path, new: dict[str, Samples], rate: int = SAMPLE_RATE
) -> Corpus:
    clips = list(corpus.clips) if corpus else []
    for name, samples in new.items():
        path = folder / f"{name}.wav"
        soundfile.write(path, samples, rate, subtype="FLOAT")
        clips.append(Clip(name, path, ("low", "high")[len(clips) % 2]))
    return Corpus("spoken", ("low", "high"), tuple(clips))


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The correlation of every two waveforms that were compared."""
    found: list[float] = []
    max_correlation = duplicates.max_correlation

    def listening(first: Samples, second: Samples) -> float:
        found.append(max_correlation(first, second))
        return found[-1]

    monkeypatch.setattr(duplicates, "max_correlation", listening)
    return found


def names(corpus: CheckedCorpus, groups: tuple[tuple[int, ...], ...]) -> list[list[str]]:
    return [[corpus.clips[row].id for row in rows] for rows in groups]


def test_different_recordings_are_no_duplicates(corpus: Corpus) -> None:
    assert check_audio(corpus).duplicates == ()


@pytest.mark.parametrize("changes", SOME, ids=name_of)
def test_a_changed_duplicate_is_found(
    changes: tuple[Change, ...], corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...]
) -> None:
    copy = changed(spoken[5], SAMPLE_RATE, changes, np.random.default_rng(0))
    checked = check_audio(with_clips(corpus, tmp_path, {"copy": copy}))
    assert names(checked, checked.near_duplicates) == [["05", "copy"]]
    assert checked.exact_duplicates == ()


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_duplicate_at_another_rate_is_found(rate: int, corpus: Corpus, tmp_path: Path) -> None:
    samples = np.asarray(
        soxr.resample(decode(read_bytes(corpus.clips[3].path)).samples, SAMPLE_RATE, rate), np.float32
    )
    checked = check_audio(with_clips(corpus, tmp_path, {"copy": samples}, rate))
    assert names(checked, checked.near_duplicates) == [["03", "copy"]]


def vowel(seconds: float, seed: int) -> Samples:
    """Of one pitch and colour, but for a little noise and how it swells."""
    times = np.arange(int(SAMPLE_RATE * seconds)) / SAMPLE_RATE
    rng = np.random.default_rng(seed)
    sound = sum(np.sin(2 * np.pi * 200 * k * times) / k for k in range(1, 9))
    swell = 1 + 0.3 * np.sin(2 * np.pi * times / seconds + rng.uniform(0, 7))
    return np.asarray(0.1 * swell * (sound + 0.4 * rng.standard_normal(len(times))), np.float32)


def test_short_held_vowels_are_no_duplicates_but_their_duplicates_are(tmp_path: Path) -> None:
    vowels = {f"{seed}": vowel(0.15, seed) for seed in range(8)}
    checked = check_audio(with_clips(None, tmp_path, vowels | {"copy": scaled(vowels["3"], 0.5)}))
    assert names(checked, checked.duplicates) == [["3", "copy"]]


def test_exact_and_near_duplicates_of_one_recording_are_one_group(
    corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...]
) -> None:
    new = {"exact": spoken[5], "near": scaled(spoken[5], 0.5), "other": spoken[2]}
    checked = check_audio(with_clips(corpus, tmp_path, new))
    assert names(checked, checked.duplicates) == [["02", "other"], ["05", "exact", "near"]]
    assert names(checked, checked.exact_duplicates) == [["02", "other"]]
    assert names(checked, checked.near_duplicates) == [["05", "exact", "near"]]
    assert names(checked, checked.contradictions) == [["05", "exact", "near"]]


def test_fifty_duplicates_are_one_group(
    corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...], compared: list[float]
) -> None:
    new = {f"copy {n:02}": scaled(spoken[5][n * 20 :], 1 - n / 100) for n in range(1, 50)}
    checked = check_audio(with_clips(corpus, tmp_path, new))
    (group,) = checked.duplicates
    assert names(checked, (group,)) == [["05", *sorted(new)]]
    assert len(compared) < 50 * 8


def test_duplicates_are_found_past_a_crowd_of_nearer_ones(
    corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_MOST", 1)
    rng = np.random.default_rng(0)
    softer, cut = spoken[5], louder(spoken[5], SAMPLE_RATE, rng)
    new = {
        f"{kind}{n}": scaled(samples, 1 - n / 100)
        for kind, samples in (("a", softer), ("b", cut))
        for n in range(1, 7)
    }
    checked = check_audio(with_clips(corpus, tmp_path, new))
    assert names(checked, checked.duplicates) == [["05", *sorted(new)]]


def tone(number: int, rng: np.random.Generator) -> Samples:
    """One of many that swell alike: of a pitch of its own, with a little noise."""
    times = np.arange(int(SAMPLE_RATE * 1.2)) / SAMPLE_RATE
    swell = 1 + 0.6 * np.sin(2 * np.pi * 3 * times) + 0.3 * np.sin(2 * np.pi * 7 * times)
    sound = sum(np.sin(2 * np.pi * (200 + 1.3 * number) * k * times) / k for k in range(1, 9))
    return np.asarray(0.1 * swell * sound + 0.002 * rng.standard_normal(len(times)), np.float32)


@pytest.mark.parametrize(
    ("seed", "n_sounds"), [(0, 35), *(pytest.param(seed, 80, marks=pytest.mark.slow) for seed in range(4))]
)
def test_duplicates_are_found_among_many_similar_sounds_that_are_nearer(
    seed: int, n_sounds: int, tmp_path: Path, compared: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    tones = {f"{number:02}": tone(number, rng) for number in range(n_sounds)}
    sources = sorted(rng.choice(list(tones), 6, replace=False).tolist())
    copies = {f"copy of {name}": scaled(tones[name][len(tones[name]) // 10 :], 0.5) for name in sources}
    checked = check_audio(with_clips(None, tmp_path, tones | copies))
    assert names(checked, checked.duplicates) == [[name, f"copy of {name}"] for name in sources]
    assert len(compared) > n_sounds * 8


def test_candidates_beyond_a_bound_are_told_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_MOST", 1)
    monkeypatch.setattr(duplicates, "_MOST_PAIRS", 5)
    rng = np.random.default_rng(0)
    corpus = with_clips(None, tmp_path, {f"{number:02}": tone(number, rng) for number in range(20)})
    for _ in range(2):
        said: list[str] = []
        progress = Listening()
        monkeypatch.setattr(progress, "say", said.append)
        check_audio(corpus, progress=progress)
        assert [line.partition(";")[0] for line in said] == [
            "near duplicates: more clips sound alike than are compared"
        ]
        assert "of similar pairs only 25 were" in said[0]


@pytest.mark.parametrize("side", ["beginning", "end", "both"])
@pytest.mark.parametrize("row", [3, 5, 12])
def test_an_excerpt_is_found(
    side: str, row: int, corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...]
) -> None:
    """From which a tenth is cut."""
    tenth = len(spoken[row]) // 10
    start = {"beginning": tenth, "end": 0, "both": tenth // 2}[side]
    excerpt = spoken[row][start : len(spoken[row]) - tenth + start]
    checked = check_audio(with_clips(corpus, tmp_path, {"excerpt": scaled(excerpt, 0.7)}))
    assert names(checked, checked.near_duplicates) == [[f"{row:02}", "excerpt"]]


@settings(max_examples=20)
@given(start=st.integers(0, 4_000), length=st.integers(9_000, 12_000), seed=st.integers(0, 9))
def test_an_excerpt_correlates_fully_with_its_source_and_not_with_another(
    start: int, length: int, seed: int
) -> None:
    noise, other = np.random.default_rng(seed).standard_normal((2, 16_000)).astype(np.float32)
    excerpt = noise[start : start + length]
    assert duplicates.overlap_correlation(noise, excerpt) > 0.99
    assert duplicates.overlap_correlation(excerpt, -noise) > 0.99
    assert duplicates.overlap_correlation(other, excerpt) < 0.2
    assert duplicates.max_correlation(noise, excerpt) < 0.9


def test_in_more_clips_than_are_compared_with_each_other_duplicates_are_found_by_hash_tables(
    corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (duplicates, near_pairs):
        monkeypatch.setattr(module, "EXHAUSTIVE", 17)
    copies = {
        f"copy {n}": changed(spoken[n], SAMPLE_RATE, ALL[n], np.random.default_rng(0)) for n in range(8)
    }
    for _ in range(2):
        progress = Listening()
        said: list[str] = []
        monkeypatch.setattr(progress, "say", said.append)
        checked = check_audio(with_clips(corpus, tmp_path, copies), progress=progress)
        assert names(checked, checked.duplicates) == [[f"{n:02}", f"copy {n}"] for n in range(8)]
        assert len(said) == 1
        assert said[0].startswith("near duplicates: 24 clips are too many to compare every two fingerprints")


def test_an_unchanged_corpus_is_not_compared_again(
    corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...], compared: list[float]
) -> None:
    more = with_clips(corpus, tmp_path, {"copy": scaled(spoken[5], 0.5)})
    first = check_audio(more)
    assert len(compared) >= 1
    compared.clear()
    assert check_audio(more) == first
    assert compared == []


@pytest.mark.parametrize("kept", [1, 1000])
def test_what_was_compared_before_an_interruption_is_not_compared_again(
    corpus: Corpus,
    tmp_path: Path,
    spoken: tuple[Samples, ...],
    compared: list[float],
    monkeypatch: pytest.MonkeyPatch,
    kept: int,
) -> None:
    monkeypatch.setattr(duplicates, "_KEPT", kept)
    new = {f"{row} {n}": scaled(spoken[row], 1 - n / 10) for row in (3, 5, 7) for n in (1, 2)}
    more = with_clips(corpus, tmp_path, new)
    cache, max_correlation = home() / "duplicates", duplicates.max_correlation

    def interrupted(first: Samples, second: Samples) -> float:
        if len(compared) == 6:
            assert cache.exists() == (kept == 1)  # what is left where the process is killed
            raise KeyboardInterrupt
        return max_correlation(first, second)

    monkeypatch.setattr(duplicates, "_THREADS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(duplicates, "max_correlation", interrupted)
        with pytest.raises(KeyboardInterrupt):
            check_audio(more)
    checked = check_audio(more)
    assert names(checked, checked.duplicates) == [[f"{row:02}", f"{row} 1", f"{row} 2"] for row in (3, 5, 7)]
    n_compared = len(compared)
    for path in cache.iterdir():
        path.unlink()
    compared.clear()
    assert check_audio(more).duplicates == checked.duplicates
    assert 6 < n_compared <= len(compared)


def test_duplicates_that_only_a_lost_clip_joined_are_compared(
    corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...]
) -> None:
    new = {f"copy {n}": scaled(spoken[5], 1 - n / 10) for n in range(1, 4)}
    more = with_clips(corpus, tmp_path, new)
    for lost in ("05", *new):
        rest = replace(more, clips=tuple(clip for clip in more.clips if clip.id != lost))
        checked = check_audio(rest)
        assert names(checked, checked.duplicates) == [sorted({"05", *new} - {lost})]


def truncate(text: str) -> str:
    return text[: len(text) // 2]


def of_other_code(text: str) -> str:
    return text.replace('"version": "', '"version": "x')


def without_decisions(text: str) -> str:
    return json.dumps({key: value for key, value in json.loads(text).items() if key != "different"})


def with_odd_decisions(text: str) -> str:
    return json.dumps(json.loads(text) | {"duplicates": ["one"]})


def with_numbers(text: str) -> str:
    return json.dumps(json.loads(text) | {"duplicates": [1]})


@pytest.mark.parametrize(
    "damage", [truncate, of_other_code, without_decisions, with_odd_decisions, with_numbers, "[{}]".format]
)
@pytest.mark.parametrize("write", [write_checksummed, Path.write_text])
def test_a_damaged_cache_of_decisions_is_computed_again(
    write: Callable[[Path, str], object],
    damage: Callable[[str], str],
    corpus: Corpus,
    tmp_path: Path,
    spoken: tuple[Samples, ...],
    compared: list[float],
) -> None:
    more = with_clips(corpus, tmp_path, {"copy": scaled(spoken[5], 0.5)})
    first, n_compared = check_audio(more), len(compared)
    (cache,) = (home() / "duplicates").iterdir()
    whole = cache.read_text("utf-8")
    write(cache, damage(read_checksummed(cache).decode()))
    assert check_audio(more) == first
    assert len(compared) == 2 * n_compared
    assert cache.read_text("utf-8") == whole


class Listening:
    """Notes what is tracked."""

    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {}

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:
        assert not passing
        self.steps[label] = [total]
        yield self.steps[label].append

    def say(self, line: str) -> None:
        raise AssertionError(line)


def test_comparing_tells_how_far_it_is(corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...]) -> None:
    listening = Listening()
    check_audio(with_clips(corpus, tmp_path, {"copy": scaled(spoken[5], 0.5)}), progress=listening)
    total, *steps = listening.steps["Comparing recordings"]
    assert total == sum(steps) >= 1


def test_a_clip_that_vanishes_meanwhile_is_named(tmp_path: Path, corpus: Corpus) -> None:
    near = check_audio(corpus)
    facts = replace(near.facts[1], content="another", audio_fingerprint=near.facts[0].audio_fingerprint)
    gone = ClipSource(tmp_path / "gone.wav", None, None)
    clips = [(near.clips[0].source, near.facts[0]), (gone, facts)]
    with pytest.raises(AudioError, match=r"gone.wav has changed since it was checked: no such file"):
        duplicates.near_duplicates(clips, tmp_path / "cache.json", Listening())


def test_near_duplicates_are_noted_and_kept_in_one_part(
    corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...]
) -> None:
    checked = check_audio(with_clips(corpus, tmp_path, {"x": spoken[4], "y": scaled(spoken[5], 0.5)}))
    protocol = apply_protocol("stratified5", checked)
    assert "1 group(s) of exact duplicates kept in one part of each split: 04 = x" in protocol.notes
    assert "1 group(s) of near duplicates kept in one part of each split: 05 = y" in protocol.notes
    for fold in protocol.folds:
        assert len({row in fold.test.tolist() for row in checked.near_duplicates[0]}) == 1


def test_bench_lists_near_duplicates(
    bench: Callable[..., Any], corpus: Corpus, tmp_path: Path, spoken: tuple[Samples, ...]
) -> None:
    for row, clip in enumerate(corpus.clips[:6]):
        folder = tmp_path / "data" / ("low", "high")[row % 2]
        folder.mkdir(parents=True, exist_ok=True)
        clip.path.rename(folder / clip.path.name)
    soundfile.write(tmp_path / "data" / "low" / "copy.wav", scaled(spoken[5], 0.5), SAMPLE_RATE)
    result = bench("data", "check", tmp_path / "data")
    assert "1 group(s) of near duplicates:" in result.stdout
    assert "high/05.wav = low/copy.wav (with DIFFERENT labels)" in result.stdout


@pytest.mark.slow
def test_the_demo_corpus_has_no_duplicates() -> None:
    assert check_audio(Demo().load(), "fail").duplicates == ()


@pytest.fixture
def ravdess() -> Corpus:
    if "MARSBENCH_RAVDESS" not in os.environ:
        pytest.skip("MARSBENCH_RAVDESS names no folder with RAVDESS")
    return Ravdess(os.environ["MARSBENCH_RAVDESS"]).load()


KNOWN = {"speech/Actor_07/03-01-03-01-02-01-07", "speech/Actor_07/03-01-03-01-02-02-07"}


def planted(
    corpus: Corpus, folder: Path, rng: np.random.Generator
) -> tuple[Corpus, dict[str, tuple[str, str]]]:
    """With 200 exact and 200 near copies of different clips; and of each by id its clip and the change."""
    sources = [
        corpus.clips[row]
        for row in rng.permutation(len(corpus.clips)).tolist()
        if corpus.clips[row].id not in KNOWN
    ]
    kinds: list[tuple[Change, ...]] = [()] * 200 + [ALL[n % len(ALL)] for n in range(200)]
    clips, origins = list(corpus.clips), {}
    for number, (source, changes) in enumerate(zip(sources, kinds, strict=False)):
        waveform = decode(read_bytes(source.path))
        samples = changed(waveform.samples, waveform.sample_rate, changes, rng)
        clip = replace(source, id=f"planted {number:03}", path=folder / f"{number:03}.wav")
        soundfile.write(clip.path, samples, waveform.sample_rate, subtype="FLOAT")
        clips.append(clip)
        origins[clip.id] = (source.id, name_of(changes) or "exact")
    return replace(corpus, clips=tuple(clips)), origins


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_duplicates_planted_in_ravdess_are_found_and_no_others(
    seed: int, ravdess: Corpus, tmp_path: Path
) -> None:
    corpus, origins = planted(ravdess, tmp_path, np.random.default_rng(seed))
    checked = check_audio(corpus, "fail")
    found = {
        frozenset(pair) for group in names(checked, checked.duplicates) for pair in combinations(group, 2)
    }
    lost = [kind for copy, (source, kind) in origins.items() if frozenset((copy, source)) not in found]
    true = {frozenset((copy, source)) for copy, (source, _) in origins.items()}
    assert "exact" not in lost
    assert len(lost) <= 2, lost
    assert len(found - true - {frozenset(KNOWN)}) <= 5, found - true
    assert frozenset(KNOWN) in found
