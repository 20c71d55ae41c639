"""A corpus with one file of every kind that users have, good and bad, through a whole run."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 22_050
GOOD = {
    "stereo.wav": ("WAV", "PCM_16", RATE, 2),
    "8 bit.wav": ("WAV", "PCM_U8", RATE, 1),
    "24 bit.wav": ("WAV", "PCM_24", RATE, 1),
    "float64.wav": ("WAV", "DOUBLE", RATE, 1),
    "8 kHz.wav": ("WAV", "PCM_16", 8_000, 1),
    "192 kHz.wav": ("WAV", "PCM_16", 192_000, 1),
    "flac.FLAC": ("FLAC", "PCM_16", RATE, 1),
    "ogg.ogg": ("OGG", "VORBIS", RATE, 1),
    "mp3.mp3": ("MP3", "MPEG_LAYER_III", RATE, 1),
    "Ärger und наука 声.wav": ("WAV", "PCM_16", RATE, 1),
}


def encoded(samples: np.ndarray, form: tuple[str, str, int, int] = ("WAV", "PCM_16", RATE, 1)) -> bytes:
    container, subtype, rate, channels = form
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([samples] * channels, axis=1), rate, subtype, format=container)
    return buffer.getvalue()


def tone(pitch: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)


WAV = encoded(tone(300))
BAD = {
    "zero bytes.wav": (b"", "empty: 0 bytes"),
    "text.wav": (b"this is no audio\n" * 20, "cannot be decoded"),
    "truncated header.wav": (WAV[:30], "truncated"),
    "truncated data.wav": (WAV[:5000], "truncated"),
    "no samples.wav": (encoded(tone(300, 0)), "empty: 0 samples"),
    "10 ms.wav": (encoded(tone(300, 0.01)), "too short: 10 ms"),
    "silent.wav": (encoded(np.zeros(RATE)), "silent"),
    "nan.wav": (encoded(np.full(RATE, np.nan), ("WAV", "FLOAT", RATE, 1)), "contains NaN or infinite"),
    "inf.wav": (encoded(np.full(RATE, np.inf), ("WAV", "FLOAT", RATE, 1)), "contains NaN or infinite"),
    "10 minutes.wav": (encoded(tone(300, 600, 8000), ("WAV", "PCM_16", 8000, 1)), "too long: 600.0 s"),
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for label, pitch in (("low", 200), ("high", 900)):
        folder = tmp_path / "corpus" / label
        folder.mkdir(parents=True)
        for name, form in GOOD.items():
            (folder / name).write_bytes(encoded(tone(pitch, rate=form[2]), form))
    for name, (data, _) in BAD.items():
        (folder / name).write_bytes(data)
    (folder / "folder.wav").mkdir()
    return tmp_path / "corpus"


def test_the_good_ones_are_used_and_each_bad_one_is_named(
    bench: Callable[..., Any], kit: Path, corpus: Path
) -> None:
    grid = ("--features", "crossings", "--model", "nearest_mean", "--plugins", kit)
    result = bench("run", *grid, "--data", corpus)
    assert result.exit_code == 0, result.stderr
    assert "Corpus corpus: 20 clips, 2 classes" in result.stdout
    assert f"{len(BAD) + 1} bad audio file(s) left out" in result.stdout
    (path,) = Path("results").rglob("run.json")
    reasons = json.loads(path.read_text())["corpus"]["bad_audio"]
    assert reasons.keys() == {f"high/{name}" for name in (*BAD, "folder.wav")}
    for name, (_, reason) in BAD.items():
        assert reason in reasons[f"high/{name}"]
        assert f"high/{name}: {reason}" in result.stdout


def test_the_same_corpus_ends_the_run_before_training_if_asked(
    bench: Callable[..., Any], kit: Path, corpus: Path
) -> None:
    grid = ("--features", "crossings", "--model", "nearest_mean", "--plugins", kit)
    result = bench("run", *grid, "--data", corpus, "--bad-audio", "fail")
    assert result.exit_code == 1
    assert "11 bad audio files (high/10 minutes.wav: too long" in result.stderr
    assert not list(Path("results").iterdir())


def test_data_check_names_every_bad_file(bench: Callable[..., Any], corpus: Path) -> None:
    report = bench("data", "check", corpus).stdout
    assert all(f"high/{name}: {reason}" in report for name, (_, reason) in BAD.items())
    assert "high/folder.wav: a folder, not a file" in report
    assert "192,000 Hz: 2" in report
