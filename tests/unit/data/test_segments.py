from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.data import audio
from marsbench.data.audio_validation import check_audio
from marsbench.data.corpus import CheckedCorpus, Clip, ClipSource, Corpus
from marsbench.data.corpus_options import Channel, Reading
from marsbench.data.reading import apply_reading
from marsbench.data.segments import LastFile, SegmentedFile, read_clip
from marsbench.errors import AudioError, StorageError
from marsbench.features.store import FeatureStore
from marsbench.plugin.registry import discover
from marsbench.protocols.apply import apply_protocol

RATE = 8_000
SECONDS = 20
FORMATS = {
    "WAV": ("wav", "PCM_16"),
    "24 bit": ("wav", "PCM_24"),
    "float": ("wav", "FLOAT"),
    "FLAC": ("flac", "PCM_16"),
    "AIFF": ("aiff", "PCM_16"),
    "u-law": ("au", "ULAW"),
    "Vorbis": ("ogg", "VORBIS"),
    "Opus": ("opus", "OPUS"),
    "MP3": ("mp3", "MPEG_LAYER_III"),
    "ADPCM": ("wav", "IMA_ADPCM"),
}


def speech(seconds: float = SECONDS, channels: int = 1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * RATE), channels))
    return noise * np.linspace(0.1, 1, len(noise))[:, None]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    made = {}
    for name, (ending, coding) in FORMATS.items():
        made[name] = folder / f"{name}.{ending}"
        soundfile.write(made[name], speech(), RATE, coding, format="OGG" if ending == "opus" else None)
    made["stereo"] = folder / "stereo.flac"
    soundfile.write(made["stereo"], speech(channels=2), RATE)
    made["unsized"] = folder / "unsized.wav"  # as written to a pipe: the size of the samples is 0
    data = made["WAV"].read_bytes()
    made["unsized"].write_bytes(data[:40] + bytes(4) + data[44:])
    return made


TIMES = st.tuples(st.integers(0, 18_000), st.integers(100, 6_000)).map(
    lambda one: (one[0] / 1000, min(SECONDS, (one[0] + one[1]) / 1000))
)


@pytest.mark.parametrize("name", [*FORMATS, "stereo", "unsized"])
@settings(max_examples=5, deadline=None)
@given(times=st.lists(TIMES, min_size=1, max_size=6))
def test_a_segment_is_that_part_of_the_decoded_file_in_any_order(
    recordings: dict[str, Path], name: str, times: list[tuple[float, float]]
) -> None:
    whole = audio.decode(recordings[name].read_bytes())
    with SegmentedFile(recordings[name]) as file:
        for start, end in times:
            expected = whole.samples[round(start * whole.sample_rate) : round(end * whole.sample_rate)]
            np.testing.assert_array_equal(file.read(start, end).samples, expected)


def test_a_segment_without_an_end_goes_to_that_of_the_file(recordings: dict[str, Path]) -> None:
    found = read_clip(ClipSource(recordings["FLAC"], SECONDS - 1.5, None))
    assert found.seconds == 1.5


@pytest.mark.parametrize("name", ["WAV", "FLAC", "MP3"])
@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (25, 26, "the segment starts at 25.000 s, beyond the file's end at 20.0"),
        (19, 23, "the segment ends at 23.000 s, beyond the file's end at 20.0"),
        (1, 1.05, "too short: 50 ms"),
        (0, 301, "the segment ends at 301.000 s|too long: 301.0 s"),
    ],
)
def test_a_segment_that_cannot_be_used_says_why(
    recordings: dict[str, Path], name: str, start: float, end: float, message: str
) -> None:
    with SegmentedFile(recordings[name]) as file:
        with pytest.raises(AudioError, match=message):
            file.read(start, end)
        assert file.read(2, 3).seconds == 1


def test_rounded_times_may_end_just_after_the_file(recordings: dict[str, Path]) -> None:
    assert read_clip(ClipSource(recordings["WAV"], 19, SECONDS + 0.005)).seconds == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"words", "not recognised"), (b"RIFFxxxxWAVE", "truncated|decoded")],
)
def test_a_file_that_is_no_audio_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(AudioError, match=message):
        SegmentedFile(tmp_path / "x.wav")
    with pytest.raises(AudioError, match="no such file"):
        SegmentedFile(tmp_path / "gone.wav")


def test_segments_of_a_compressed_file_are_decoded_in_one_pass(
    recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    original = SegmentedFile._decoded

    def counted(file: SegmentedFile, most: int) -> np.ndarray:
        decoded.append(most)
        return original(file, most)

    monkeypatch.setattr(SegmentedFile, "_decoded", counted)
    with LastFile() as opened:
        for start in range(18):
            opened.read(ClipSource(recordings["MP3"], start, start + 1.5))
    assert sum(decoded) <= SECONDS * RATE


def segments(path: Path, times: Sequence[tuple[float, float | None]]) -> Corpus:
    clips = (
        Clip(f"{path.name}#{start}-{end}", path, "ab"[number % 2], start=start, end=end)
        for number, (start, end) in enumerate(times)
    )
    return Corpus("segments", ("a", "b"), tuple(clips))


def test_facts_are_those_of_the_segment_and_the_hash_that_of_the_file(recordings: dict[str, Path]) -> None:
    path = recordings["stereo"]
    corpus = check_audio(segments(path, [(0, 1), (1, 3), (2.5, 22), (4, None)]))

    assert [facts.seconds for facts in corpus.facts] == [1, 2, SECONDS - 4]
    assert {(facts.channels, facts.sample_rate) for facts in corpus.facts} == {(2, RATE)}
    assert len({facts.sha256 for facts in corpus.facts}) == 1
    assert len({facts.content for facts in corpus.facts}) == 3
    assert [(clip.id, clip.reason) for clip in corpus.bad] == [
        ("stereo.flac#2.5-22", "the segment ends at 22.000 s, beyond the file's end at 20.000 s")
    ]


def test_the_facts_of_segments_are_kept_by_their_times(recordings: dict[str, Path]) -> None:
    first = check_audio(segments(recordings["WAV"], [(0, 1), (2, 3)]))
    moved = check_audio(segments(recordings["WAV"], [(0, 1), (2, 3.5)]))
    again = check_audio(segments(recordings["WAV"], [(0, 1), (2, 3)]))

    assert [facts.seconds for facts in moved.facts] == [1, 1.5]
    assert again.facts == first.facts


def cut(folder: Path, corpus: CheckedCorpus) -> CheckedCorpus:
    """The same clips as files of their own."""
    clips = []
    for number, clip in enumerate(corpus.clips):
        path = folder / f"{number}.wav"
        waveform = read_clip(clip.source)
        soundfile.write(path, waveform.samples, waveform.sample_rate, "FLOAT")
        clips.append(Clip(path.name, path, clip.label))
    return check_audio(Corpus("cut", corpus.labels, tuple(clips)))


@pytest.mark.parametrize("name", ["WAV", "stereo", "MP3"])
def test_features_of_a_segment_are_those_of_a_file_of_its_own(
    recordings: dict[str, Path], tmp_path: Path, name: str
) -> None:
    corpus = check_audio(segments(recordings[name], [(10, 11.5), (0.25, 1.125), (2, 3.25), (19, None)]))
    recipe = discover(()).get("features", "mfcc").recipe({})
    ours = FeatureStore(recipe, (), tmp_path / "ours").features_of(corpus)
    theirs = FeatureStore(recipe, (), tmp_path / "theirs").features_of(cut(tmp_path, corpus))

    for position in range(4):
        np.testing.assert_array_equal(ours.array(position), theirs.array(position))


def test_a_file_that_changes_before_extraction_is_named(recordings: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(recordings["WAV"].read_bytes())
    corpus = check_audio(segments(path, [(0, 1), (2, 3)]))
    soundfile.write(path, speech(seed=1), RATE)
    recipe = discover(()).get("features", "mfcc").recipe({})

    with pytest.raises(StorageError, match=r"x.wav changed during the run"):
        FeatureStore(recipe, (), tmp_path).features_of(corpus)


WINDOWS = st.lists(
    st.tuples(st.integers(0, 160), st.integers(2, 40)), min_size=2, max_size=8, unique=True
).map(lambda found: [(start / 10, min(SECONDS, (start + size) / 10)) for start, size in found])


def overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first[0] < second[1] and second[0] < first[1]


@settings(max_examples=5, deadline=None)
@given(times=WINDOWS)
def test_exactly_segments_that_share_samples_are_duplicates(
    recordings: dict[str, Path], times: list[tuple[float, float]]
) -> None:
    times = list(dict.fromkeys(times))
    corpus = check_audio(segments(recordings["WAV"], [*times, (19.8, None)]))
    group_of = {row: group for group in corpus.duplicates for row in group}
    for row, clip in enumerate(corpus.clips):
        for other, second in enumerate(corpus.clips):
            spans = [(one.start or 0, one.end or SECONDS) for one in (clip, second)]
            if row != other and overlap(*spans):
                assert other in group_of[row]
    for group in corpus.duplicates:
        assert all(
            any(overlap(span(corpus.clips[row]), span(corpus.clips[o])) for o in group if o != row)
            for row in group
        )


def span(clip: Clip) -> tuple[float, float]:
    return clip.start or 0, clip.end or SECONDS


def test_no_sample_is_in_both_train_and_test(recordings: dict[str, Path]) -> None:
    times = [(start / 2, start / 2 + 0.7) for start in range(20)] + [
        (start, start + 0.8) for start in range(11, 20)
    ]
    corpus = check_audio(segments(recordings["WAV"], times))
    for fold in apply_protocol("stratified2", corpus).folds:
        for row in fold.train.tolist():
            assert not any(
                overlap(span(corpus.clips[row]), span(corpus.clips[o])) for o in fold.test.tolist()
            )


def test_a_copy_of_a_file_and_the_whole_file_overlap_with_its_segments(
    recordings: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.wav"
    copy.write_bytes(recordings["WAV"].read_bytes())
    listed = segments(recordings["WAV"], [(0, 1), (2, 3)])
    whole = Clip("copy.wav", copy, "a")
    (group,) = check_audio(replace(listed, clips=(*listed.clips, whole))).duplicates
    assert group == (0, 1, 2)


def test_bundles_take_the_path_of_a_file_and_the_samples_of_a_segment(recordings: dict[str, Path]) -> None:
    path = recordings["WAV"]
    with LastFile() as opened:
        assert opened.recording(ClipSource(path, None, None)) == path
        found = opened.recording(ClipSource(path, 1, 2))
    assert isinstance(found, audio.Waveform)
    assert found.seconds == 1


def stereo_files(folder: Path) -> dict[str, Path]:
    """Channels in opposite phase, one channel, and three of which the second is quieter."""
    tone = speech(2)[:, 0]
    made = {
        "opposite": np.stack([tone, -tone], 1),
        "mono": tone,
        "three": np.stack([tone, 0.5 * tone, tone], 1),
    }
    for name, samples in made.items():
        soundfile.write(folder / f"{name}.flac", samples, RATE, "PCM_24")
    return {name: folder / f"{name}.flac" for name in made}


@pytest.mark.parametrize("start", [None, 0.5])
@pytest.mark.parametrize(
    ("name", "channel", "scale"),
    [
        ("opposite", "left", 1),
        ("opposite", "right", -1),
        ("mono", "left", 1),
        ("mono", "right", 1),
        ("three", "right", 0.5),
        ("three", "mix", 2.5 / 3),
    ],
)
def test_a_channel_can_be_read_alone(
    name: str, channel: Channel, scale: float, start: float | None, tmp_path: Path
) -> None:
    path = stereo_files(tmp_path)[name]
    found = read_clip(ClipSource(path, start, None, channel)).samples
    np.testing.assert_allclose(found, scale * speech(2)[round((start or 0) * RATE) :, 0], atol=1e-6)


def test_each_channel_is_a_corpus_of_its_own_with_its_own_features(tmp_path: Path, kit: Path) -> None:
    path = stereo_files(tmp_path)["three"]
    clips = tuple(Clip(f"{label}.flac", path, label) for label in "ab")
    listed, store = Corpus("c", ("a", "b"), clips), discover((kit,))
    extractor = store.get("features", "crossings").recipe({})
    read = {
        channel: check_audio(apply_reading(listed, Reading.parse({"channel": channel})))
        for channel in ("mix", "left", "right")
    }
    assert read["mix"].fingerprint == check_audio(listed).fingerprint
    assert len({corpus.fingerprint for corpus in read.values()}) == 3
    assert len({corpus.audio_keys for corpus in read.values()}) == 3
    for corpus in read.values():
        features = FeatureStore(extractor, (kit,)).features_of(corpus).read([0]).values
        assert np.isfinite(features).all()
    peaks = [corpus.facts[0].peak for corpus in read.values()]
    assert peaks[1] > peaks[0] > peaks[2]
