"""Levels of samples: integers, floats, and floats far beyond full scale."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from marsbench.data.audio import Waveform, checked, is_far_beyond_full_scale
from marsbench.data.audio_validation import check_audio, examine, known_facts
from marsbench.data.corpus import Clip, Corpus
from marsbench.errors import AudioError

RATE = 16_000
NOISE = (0.3 * np.random.default_rng(0).standard_normal(RATE)).clip(-1, 1)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_integer_samples_are_scaled_by_their_type(dtype: str) -> None:
    info = np.iinfo(dtype)
    half = (info.max + info.min + 1) // 2
    integers = np.round(half + NOISE * (info.max - half)).astype(dtype)

    samples = checked(Waveform(integers, RATE)).samples
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, NOISE, atol=0.02 if info.bits == 8 else 1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_samples_keep_their_values(dtype: str) -> None:
    samples = checked(Waveform(NOISE.astype(dtype), RATE)).samples

    np.testing.assert_array_equal(samples, NOISE.astype(dtype).astype(np.float32))


@pytest.mark.parametrize(
    "samples",
    [
        NOISE > 0,
        NOISE.astype(complex),
        NOISE.astype(object),
        (NOISE * 32767).astype(np.int64),
        (NOISE * 100 + 100).astype(np.uint64),
        NOISE.astype(str),
        np.ma.masked_invalid(NOISE),
    ],
    ids=["bool", "complex", "object", "int64", "uint64", "text", "masked"],
)
def test_samples_without_a_full_scale_are_refused(samples: Any) -> None:
    with pytest.raises(AudioError, match=r"are needed|without its mask"):
        checked(Waveform(samples, RATE))


@pytest.mark.parametrize(("scale", "expected"), [(1.0, False), (3.0, False), (5.0, True), (32767.0, True)])
def test_floats_far_beyond_full_scale_are_told_from_loud_ones(
    tmp_path: Path, scale: float, expected: bool
) -> None:
    soundfile.write(tmp_path / "clip.wav", scale * NOISE, RATE, subtype="FLOAT")
    facts = examine(tmp_path / "clip.wav")

    assert facts.peak == pytest.approx(scale * np.abs(NOISE).max())
    assert is_far_beyond_full_scale(facts.peak) is expected


def test_what_a_check_found_is_known_until_the_file_changes(tmp_path: Path) -> None:
    clips = []
    for number in (1, 2):
        soundfile.write(tmp_path / f"{number}.wav", 0.5 * NOISE[: RATE // number], RATE)
        clips.append(Clip(f"{number}.wav", tmp_path / f"{number}.wav", f"class {number}"))
    assert known_facts(clips) == {}
    check_audio(Corpus("tones", labels=("class 1", "class 2"), clips=tuple(clips)))
    known = known_facts(clips)
    assert {name: facts.seconds for name, facts in known.items()} == {"1.wav": 1.0, "2.wav": 0.5}
    assert known["1.wav"].rms == pytest.approx(0.5 * np.sqrt(np.mean(NOISE**2)), rel=1e-3)

    soundfile.write(clips[0].path, NOISE[:100], RATE)
    assert list(known_facts(clips)) == ["2.wav"]
