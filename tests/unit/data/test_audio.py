import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.data import audio, limited_reader
from marsbench.data.audio import MAX_BYTES, Waveform, decode, load, resample
from marsbench.data.audio_validation import examine
from marsbench.data.corpus import AudioFacts
from marsbench.environment import without_lines
from marsbench.errors import AudioError

RATE = 16_000
NOISE = (0.3 * np.random.default_rng(0).standard_normal(RATE)).clip(-1, 1)


def encoded(
    samples: NDArray[Any], container: str = "WAV", subtype: str = "PCM_16", rate: int = RATE
) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=container, subtype=subtype)
    return stream.getvalue()


def with_sizes(riff: int, data: int, file: bytes | None = None) -> bytes:
    """A WAV file with these sizes of the whole and of its samples, whatever they are."""
    wav = file or encoded(NOISE)
    return wav[:4] + riff.to_bytes(4, "little") + wav[8:40] + data.to_bytes(4, "little") + wav[44:]


def sized(riff: bytes, size: int) -> bytes:
    return riff[:4] + size.to_bytes(4, "little") + riff[8:]


def with_value(value: float) -> bytes:
    return encoded(np.append(NOISE, value), subtype="FLOAT")


def without_length(bitrate_mode: str) -> bytes:
    """An MP3 whose first frame, which holds the Xing header, is cut off."""
    stream = io.BytesIO()
    with soundfile.SoundFile(
        stream, "w", RATE, 1, format="MP3", bitrate_mode=bitrate_mode, compression_level=0.5
    ) as file:
        file.write(np.linspace(0, 1, 5 * RATE) * np.tile(NOISE, 5))
    data = stream.getvalue()
    header = data.index(b"Xing")
    return data[data.index(data[:2], header) :]


GOOD = {
    "8 bit": encoded(NOISE, subtype="PCM_U8"),
    "24 bit": encoded(NOISE, subtype="PCM_24"),
    "32 bit": encoded(NOISE, subtype="PCM_32"),
    "float": encoded(NOISE, subtype="FLOAT"),
    "double": encoded(NOISE, subtype="DOUBLE"),
    "stereo": encoded(np.stack([NOISE, -0.5 * NOISE], 1)),
    "six channels": encoded(np.stack([NOISE] * 6, 1)),
    "8 kHz": encoded(NOISE, rate=8_000),
    "192 kHz": encoded(np.tile(NOISE, 4), rate=192_000),
    "FLAC": encoded(NOISE, "FLAC"),
    "OGG Vorbis": encoded(NOISE, "OGG", "VORBIS"),
    "OGG Opus": encoded(NOISE, "OGG", "OPUS"),
    "MP3": encoded(NOISE, "MP3", "MPEG_LAYER_III"),
    "MP3 with an ID3 tag": b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + encoded(NOISE, "MP3", "MPEG_LAYER_III"),
    "MP3 of unknown length": without_length("VARIABLE"),
    "AIFF": encoded(NOISE, "AIFF"),
    # In these two there is no seeking.
    "AIFF in words of variable width": encoded(NOISE, "AIFF", "DWVW_16"),
    "GSM of a telephone": encoded(NOISE[:RATE], subtype="GSM610", rate=8_000),
    "W64": encoded(NOISE, "W64"),
    "RF64": encoded(NOISE, "RF64"),
    "AU": encoded(NOISE, "AU"),
    "Apple lossless": encoded(NOISE, "CAF", "ALAC_16"),
    "a WAV written by a pipe": sized(encoded(NOISE), 0xFFFF_FFFF),
    "a WAV whose size is 8 too large": sized(encoded(NOISE), len(encoded(NOISE))),
    "a WAV written by sox to a pipe": with_sizes(0x7FFF_F024, 0x7FFF_F000),
    "a WAV written by arecord to a pipe": with_sizes(0x8000_0024, 0x8000_0000),
    "a WAV written by ffmpeg to a pipe": with_sizes(0xFFFF_FFFF, 0xFFFF_FFFF),
    "a WAV whose sizes were never filled in": with_sizes(0, 0),
    "a WAV whose data size is 0": with_sizes(36, 0),
    "a WAV without its pad byte": sized(encoded(NOISE), len(encoded(NOISE)) - 7),
    "100 ms": encoded(NOISE[: RATE // 10]),
    "5 minutes": encoded(np.tile(NOISE, 300), "FLAC"),
}

BAD = {
    "zero bytes": (b"", "empty: 0 bytes"),
    "text": (b"This is no audio.\n" * 100, "cannot be decoded: .*not recognised"),
    "truncated header": (
        encoded(NOISE)[:30],
        "truncated: the header announces 32,044 bytes, the file has 30",
    ),
    "four bytes": (b"RIFF", "truncated"),
    # libsndfile reads it, and prints of damaged ones "Error A : 5C" to standard output.
    "a sampler's dump": (encoded(NOISE, "SDS"), "cannot be decoded: not recognised as WAV, FLAC, OGG, MP3"),
    "what begins as an MP3": (b"\xff\xfb\x90d" + bytes(100), "cannot be decoded: no mpeg audio in it"),
    "truncated data": (encoded(NOISE)[:20_000], "truncated: .* the file has 20,000"),
    "truncated AIFF": (encoded(NOISE, "AIFF")[:20_000], "truncated: .* the file has 20,000"),
    "truncated FLAC": (encoded(NOISE, "FLAC")[:20_000], "truncated|cannot be decoded"),
    "truncated MP3": (
        encoded(np.tile(NOISE, 9), "MP3", "MPEG_LAYER_III")[:20_000],
        "truncated: [0-9,]+ of 144,000 samples can be decoded",
    ),
    "no samples": (encoded(NOISE[:0]), "empty: 0 samples"),
    "10 ms": (encoded(NOISE[: RATE // 100]), "too short: 10 ms, the minimum is 100 ms"),
    "all zeros": (encoded(0 * NOISE), "silent: every sample is zero"),
    "as good as zero": (encoded(1e-20 * NOISE, subtype="FLOAT"), "silent: the largest sample is"),
    "8-bit silence": (encoded(0 * NOISE, subtype="PCM_U8"), "silent"),
    "cut, with a whole size that fits": (with_sizes(19_992, 32_000)[:20_000], "truncated"),
    "no data, another chunk": (with_sizes(48, 0)[:44] + b"LIST\4\0\0\0abcd", "empty: 0 samples"),
    "opposite channels": (encoded(np.stack([NOISE, -NOISE], 1), subtype="FLOAT"), "silent.*opposite phase"),
    "nearly opposite channels": (
        encoded(np.stack([NOISE, 1e-4 - NOISE, 0 * NOISE, 0 * NOISE], 1)),
        "silent.*opposite phase and cancel",
    ),
    "NaN": (with_value(np.nan), "contains NaN or infinite samples"),
    "infinity": (with_value(-np.inf), "contains NaN or infinite samples"),
    "a sum beyond float32": (encoded(np.full((RATE, 2), 3e38), subtype="FLOAT"), "contains NaN or infinite"),
    "both infinities": (
        encoded(np.stack([np.full(RATE, np.inf), np.full(RATE, -np.inf)], 1), subtype="FLOAT"),
        "contains NaN or infinite samples",
    ),
    "10 minutes": (encoded(np.tile(NOISE, 600), "FLAC"), "too long: 600.0 s, the limit is 300 s"),
    "500 Hz": (encoded(NOISE, rate=500), "unsupported sample rate: 500 Hz"),
    "65 channels": (encoded(np.zeros((RATE, 65))), "too many channels: 65"),
    "much in many channels": (
        # Six seconds at this rate, of which the header claims far more than the file holds.
        encoded(np.zeros((1_000, 8)), "FLAC", rate=600_000).replace(
            (1_000).to_bytes(4, "big"), (150_000_000).to_bytes(4, "big"), 1
        ),
        "too large: 1,200,000,000 samples over all channels",
    ),
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_what_users_have_is_usable(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(data)
    facts = examine(tmp_path / "clip")
    assert facts.problem is None
    assert facts.seconds >= 0.1
    assert len(facts.sha256) == len(facts.content) == 64


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_what_nobody_can_use_is_named_with_its_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(data)
    facts = examine(tmp_path / "clip.wav")
    assert facts.problem is not None
    assert "\n" not in facts.problem
    with pytest.raises(AudioError, match=f"^{reason}"):
        decode(data)


def test_a_longer_limit_lets_a_longer_recording_through() -> None:
    data = encoded(np.tile(NOISE, 301), "FLAC")
    assert decode(data, max_seconds=400).seconds == 301


def test_a_longer_limit_is_none_for_samples() -> None:
    few = encoded(NOISE, "FLAC", rate=655_350)
    data = few.replace(RATE.to_bytes(4, "big"), (300_000_000).to_bytes(4, "big"), 1)
    with pytest.raises(AudioError, match=r"^too large: 300,000,000 samples, the limit is 268,435,456"):
        decode(data, max_seconds=3_600)


@pytest.mark.parametrize("container", ["FLAC", "OGG Vorbis", "OGG Opus", "MP3", "Apple lossless"])
def test_block_by_block_is_what_it_is_at_once(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = GOOD[container]
    at_once = decode(data)
    monkeypatch.setattr(audio, "BLOCK", 1_000)
    np.testing.assert_array_equal(decode(data).samples, at_once.samples)


@pytest.mark.parametrize(
    "data",
    [encoded(NOISE, "OGG", "VORBIS") + b"OggS" * 50_000, b"\xff\xfb\0\x64" * 50_000],
    ids=["OGG in which pages seem to begin", "MP3 in which frames seem to begin"],
)
def test_what_costs_time_and_gives_no_sound_is_given_up(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_reader, "_TIMEOUT", 0.01)
    with pytest.raises(AudioError, match=r"^cannot be decoded: no samples within"):
        decode(data)


@pytest.mark.parametrize("name", ["two words.wav", "Übung naïve 悲しい 😢.wav", "no_suffix", "wrong.mp3"])
def test_a_file_is_told_by_its_content_not_by_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encoded(NOISE))
    assert load(tmp_path / name, RATE).samples.shape == (RATE,)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_folder, "a folder, not a file"),
        (make_fifo, "not a regular file"),
        (make_huge, r"too large: 1,073,741,825 bytes, the limit is 1,073,741,824"),
        (make_dangling_link, "no such file"),
    ],
)
def test_what_is_no_file_is_named_with_its_reason(
    make: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    make(tmp_path / "x.wav")
    assert examine(tmp_path / "x.wav") == AudioFacts(problem=reason)
    with pytest.raises(AudioError, match=f"^{reason}$"):
        load(tmp_path / "x.wav", RATE)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything; nobody else may."""
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path


def test_a_file_that_may_not_be_read_is_named_so(open_folder: Path) -> None:
    path = open_folder / "secret.wav"
    path.write_bytes(encoded(NOISE))
    path.chmod(0)
    with as_nobody():
        facts = examine(path)
    assert facts == AudioFacts(problem="cannot be read: Permission denied")


SIGNALS = st.builds(
    lambda seed, length: np.random.default_rng(seed).uniform(-0.99, 0.99, length),
    st.integers(0, 2**32 - 1),
    st.integers(20_000, 24_000),
)


@pytest.mark.parametrize(
    ("container", "subtype", "step"),
    [
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "FLOAT", 0.0),
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_24", 2**-23),
    ],
)
@settings(max_examples=10, deadline=None)
@given(signal=SIGNALS, rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000, 192_000]))
def test_decoding_gives_the_samples_back_within_a_quantisation_step(
    container: str, subtype: str, step: float, signal: NDArray[np.float64], rate: int
) -> None:
    waveform = decode(encoded(signal, container, subtype, rate))
    assert (waveform.sample_rate, len(waveform.samples)) == (rate, len(signal))
    assert waveform.samples.dtype == np.float32
    # Half a float32 step more: the decoder's output is rounded to it.
    assert np.abs(waveform.samples - signal).max() <= step + 2**-24


@settings(max_examples=10, deadline=None)
@given(signal=SIGNALS)
def test_stereo_with_equal_channels_is_the_mono_signal(signal: NDArray[np.float64]) -> None:
    mono, stereo = decode(encoded(signal)), decode(encoded(np.stack([signal, signal], 1)))
    np.testing.assert_array_equal(mono.samples, stereo.samples)


def test_channels_are_averaged() -> None:
    waveform = decode(encoded(np.stack([NOISE, 0 * NOISE], 1), subtype="FLOAT"))
    np.testing.assert_allclose(waveform.samples, NOISE / 2, atol=1e-7)


def test_a_lossless_duplicate_has_equal_content_and_other_bytes(tmp_path: Path) -> None:
    samples = (30_000 * NOISE).astype(np.int16)
    (tmp_path / "a").write_bytes(encoded(samples))
    (tmp_path / "b").write_bytes(encoded(samples, "FLAC"))
    wav, flac = examine(tmp_path / "a"), examine(tmp_path / "b")
    assert wav.content == flac.content
    assert wav.sha256 != flac.sha256


def test_the_same_samples_at_another_rate_are_other_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encoded(NOISE))
    (tmp_path / "b").write_bytes(encoded(NOISE, rate=8_000))
    assert examine(tmp_path / "a").content != examine(tmp_path / "b").content


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 192_000])
def test_resampling_keeps_a_tone(rate: int) -> None:
    def tone(at: int) -> NDArray[np.float32]:
        return (0.5 * np.sin(2 * np.pi * 440 * np.arange(at) / at)).astype(np.float32)

    waveform = resample(Waveform(tone(rate), rate), RATE)
    assert waveform.sample_rate == RATE
    assert len(waveform.samples) == pytest.approx(RATE, abs=1)
    middle = slice(1_000, -1_000)
    np.testing.assert_allclose(
        waveform.samples[middle], tone(RATE)[: len(waveform.samples)][middle], atol=1e-3
    )


def test_resampling_to_the_own_rate_changes_nothing() -> None:
    waveform = decode(encoded(NOISE))
    assert resample(waveform, RATE) is waveform


SEEDS = [
    encoded(NOISE[:2_000], *form) for form in (("WAV", "FLOAT"), ("FLAC",), ("OGG", "VORBIS"), ("AIFF",))
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An encoded clip with a few bytes changed, most of them in its header, and perhaps its end cut off."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    position = st.one_of(st.integers(0, 100), st.integers(0, len(data) - 1))
    value = st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)
    for where, byte in draw(st.lists(st.tuples(position, value), min_size=1, max_size=6)):
        data[where] = byte
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300) | damaged())
# Led by these bytes, libsndfile seeks to before the start.
@example(data=b"FORM\0\0\0\x0eAIFFCOMM\0\0\0\x12\0\x01")
def test_no_bytes_whatever_raise_anything_but_an_audio_error(data: bytes) -> None:
    try:
        waveform = decode(data)
    except AudioError:
        return
    assert np.isfinite(waveform.samples).all()


@pytest.fixture
def originals() -> Path:
    if "MARSBENCH_RAVDESS_48K" not in os.environ:
        pytest.skip("MARSBENCH_RAVDESS_48K names no folder with original RAVDESS clips")
    return Path(os.environ["MARSBENCH_RAVDESS_48K"])


def test_an_original_stereo_clip_of_ravdess_resamples_to_its_published_mono_twin(originals: Path) -> None:
    if "MARSBENCH_RAVDESS" not in os.environ:
        pytest.skip("MARSBENCH_RAVDESS names no folder with RAVDESS")
    name = "speech/Actor_01/03-01-02-01-01-02-01"
    assert examine(originals / f"{name}.wav").channels == 2
    mine = load(originals / f"{name}.wav", 22_050)
    theirs = load(Path(os.environ["MARSBENCH_RAVDESS"], f"{name}.flac"), 22_050)
    # 16 bit, rounded without dither: half a step, and a hair for the float32 arithmetic.
    np.testing.assert_allclose(mine.samples, theirs.samples, atol=0.51 * 2**-15)


def damaged_mp3s() -> dict[str, bytes]:
    whole = encoded(np.tile(NOISE, 9), "MP3", "MPEG_LAYER_III")
    noise = np.random.default_rng(0).bytes(3000)
    return {
        "cut off": whole[: len(whole) // 2],
        "rubbish inside": whole[:1000] + noise + whole[1000:],
        "zeros inside": whole[:600] + bytes(4000),
        "flags of its tag": b"ID3\4\0\xff\0\0\2\1" + noise[:257] + whole,
    }


@pytest.mark.parametrize("name", damaged_mp3s())
def test_what_libmpg123_says_of_a_damaged_mp3_does_not_reach_the_terminal(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with suppress(AudioError):
        decode(damaged_mp3s()[name])
    assert capfd.readouterr() == ("", "")


def test_what_others_print_while_an_mp3_is_decoded_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with without_lines(lambda line: line.startswith("Note: ")):
        os.write(2, b"Note: noise\nwanted\n")
    assert capfd.readouterr().err == "wanted\n"
