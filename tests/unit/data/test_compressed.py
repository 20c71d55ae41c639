"""What phones and browsers record: M4A, MP4, AAC and WebM."""

import io
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from marsbench.data import audio_validation, compressed
from marsbench.data.audio import Waveform, decode, decode_with_channels
from marsbench.data.audio_validation import check_audio, examine
from marsbench.data.compressed import container_of
from marsbench.data.corpus import Clip, Corpus
from marsbench.data.segments import SegmentedFile
from marsbench.environment import install_hint
from marsbench.errors import AudioError, CorpusError, raise_machine_fault
from marsbench.features.store import FeatureStore
from marsbench.plugin.registry import discover

av = pytest.importorskip("av")
RATE = 48_000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
FORMATS = {
    "M4A": ("mp4", "aac"),
    "AAC": ("adts", "aac"),
    "WebM": ("webm", "libopus"),
    "MKV": ("matroska", "pcm_s16le"),
}


def recorded(name: str, seconds: int = 1, channels: int = 1) -> bytes:
    """A tone of 440 Hz in one of the formats."""
    form, codec = FORMATS[name]
    stream = io.BytesIO()
    with av.open(stream, "w", format=form) as file:
        track = file.add_stream(codec, rate=RATE, layout="mono" if channels == 1 else "stereo")
        samples = np.repeat(np.tile(TONE, seconds)[None], channels, 0).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=track.layout.name)
        frame.sample_rate = RATE
        resampler = av.AudioResampler(track.format, track.layout, RATE, track.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(track.encode(part))
        file.mux(track.encode(None))
    return stream.getvalue()


def frequency(waveform: Waveform) -> float:
    """Of the loudest tone, in Hz."""
    spectrum = np.abs(np.fft.rfft(waveform.samples * np.hanning(len(waveform.samples))))
    return float(np.fft.rfftfreq(len(waveform.samples), 1 / waveform.sample_rate)[spectrum.argmax()])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", FORMATS)
def test_recordings_are_decoded_as_they_were_recorded(name: str, channels: int) -> None:
    waveform, n_channels = decode_with_channels(recorded(name, channels=channels))
    assert (waveform.sample_rate, n_channels) == (RATE, channels)
    assert waveform.seconds == pytest.approx(1, abs=0.1)
    assert frequency(waveform) == pytest.approx(440, abs=2)
    middle = waveform.samples[RATE // 4 : RATE // 2]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), abs=0.02)


def test_the_sound_of_a_video_is_decoded_and_a_video_without_sound_is_refused() -> None:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as file:
        pictures = file.add_stream("mpeg4", rate=25)
        pictures.width = pictures.height = 64
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        file.mux([*pictures.encode(picture), *pictures.encode(None)])
    with pytest.raises(AudioError, match="no audio in it"):
        decode(stream.getvalue())


def test_a_segment_of_a_recording_is_a_part_of_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(recorded("M4A", seconds=2))
    whole = decode(path.read_bytes())
    with SegmentedFile(path) as file:
        part = file.read(0.5, 1.25)
    assert np.array_equal(part.samples, whole.samples[RATE // 2 : RATE * 5 // 4])


def test_the_same_file_gives_the_same_samples() -> None:
    data = recorded("M4A")
    assert np.array_equal(decode(data).samples, decode(data).samples)


@pytest.mark.parametrize("name", FORMATS)
def test_longer_recordings_than_allowed_are_refused(name: str) -> None:
    with pytest.raises(AudioError, match="too long"):
        decode(recorded(name, seconds=4), max_seconds=2)


def test_a_truncated_recording_is_refused() -> None:
    data = recorded("M4A", seconds=4)
    with pytest.raises(AudioError, match=r"truncated|cannot be decoded"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_recordings_give_samples_or_one_line(name: str) -> None:
    random, data = np.random.default_rng(0), np.frombuffer(recorded(name), np.uint8)
    lines = []
    for _ in range(25):
        damaged = data.copy()
        damaged[random.integers(12, len(data), random.integers(1, 40))] = random.integers(0, 256)
        try:
            decode(damaged[: random.integers(20, len(data) + 1)].tobytes())
        except AudioError as error:
            raise_machine_fault(error)  # a damaged file never looks like one
            lines.append(str(error))
    assert lines
    assert not any("\n" in line or "<none>" in line for line in lines)


@pytest.mark.parametrize("name", FORMATS)
def test_without_pyav_the_message_names_the_formats_and_the_line_to_convert(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.m4a").write_bytes(recorded(name))
    monkeypatch.setitem(sys.modules, "av", None)  # not importable
    problem = examine(tmp_path / "a.m4a").problem or ""
    assert f"M4A, MP4, AAC and WebM need PyAV: {install_hint('av')}" in problem
    assert problem.endswith("ffmpeg -i FILE FILE.wav")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """One WAV file, one M4A, and one M4A that is called a WAV file."""
    soundfile.write(tmp_path / "a.wav", TONE[: RATE // 2], RATE)
    (tmp_path / "b.m4a").write_bytes(recorded("M4A"))
    (tmp_path / "c.wav").write_bytes(recorded("M4A", 2))
    names = {"a.wav": "low", "b.m4a": "low", "c.wav": "high"}
    clips = tuple(Clip(name, tmp_path / name, label) for name, label in names.items())
    return Corpus("mine", ("low", "high"), clips)


@pytest.mark.parametrize("then", ["17.0.0", None])
def test_what_another_pyav_or_none_found_is_looked_at_again(
    corpus: Corpus, then: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if then:
            patch.setattr(compressed, "version", lambda _: then)
            assert [facts.decoder for facts in check_audio(corpus).facts] == ["", "av 17.0.0", "av 17.0.0"]
        else:
            patch.setattr(compressed, "version", Mock(side_effect=PackageNotFoundError))
            patch.setitem(sys.modules, "av", None)
            with pytest.raises(CorpusError, match="need PyAV"):
                check_audio(corpus)
    again = Mock(side_effect=audio_validation.examine_file)
    monkeypatch.setattr(audio_validation, "examine_file", again)
    found = [check_audio(corpus).facts for _ in range(2)]
    now = f"av {av.__version__}"
    assert [facts.decoder for facts in found[1]] == ["", now, now]
    assert sorted(call.args[0][0].path.name for call in again.call_args_list) == ["b.m4a", "c.wav"]


def test_features_are_kept_under_the_samples_that_pyav_decoded(corpus: Corpus, kit: Path) -> None:
    checked = check_audio(corpus)
    wav, *others = checked.facts
    assert checked.audio_keys == (wav.sha256, *(facts.content for facts in others))
    recipe = discover((kit,)).get("features", "crossings").recipe({})
    features = FeatureStore(recipe, (kit,)).features_of(checked)
    assert features.clips == list(checked.audio_keys)


@pytest.mark.parametrize("head", [b"", b"\xff", b"RIFF", b"\xff\xfb\x90", b"ID3\4", b"fLaC", b"\xff\xe3\x18"])
def test_other_formats_are_left_to_libsndfile(head: bytes) -> None:
    assert container_of(head) is None
