import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from marsbench.data.corpus_options import Channel
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.sources import waveform_of
from marsbench.errors import AudioError

RATE = 16_000
TONE = (0.3 * np.sin(np.arange(RATE) / 10)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "tone.wav", TONE, RATE, subtype="FLOAT")
    return tmp_path / "tone.wav"


class Pathlike:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


@pytest.mark.parametrize(
    "form",
    [
        str, Path, Pathlike, Path.read_bytes, lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()), lambda path: io.BytesIO(path.read_bytes()),
    ],
)  # fmt: skip
def test_every_form_of_a_file_is_the_same_recording(form: Callable[[Path], Any], path: Path) -> None:
    found = waveform_of(form(path), None, 60)
    assert found.sample_rate == RATE
    np.testing.assert_array_equal(found.samples, TONE)


@pytest.mark.parametrize("buffering", [-1, 0])
def test_an_open_file_is_read_from_where_it_stands_and_stays_open(buffering: int, path: Path) -> None:
    path.write_bytes(b"before" + path.read_bytes())
    with path.open("rb", buffering) as file:
        file.seek(len("before"))
        np.testing.assert_array_equal(waveform_of(file, None, 60).samples, TONE)
        assert not file.closed


@pytest.mark.parametrize(
    "rate", [RATE, float(RATE), np.int32(RATE), np.uint64(RATE), np.float32(RATE), np.array(RATE)]
)
def test_a_rate_is_any_whole_number(rate: Any) -> None:
    found = waveform_of(TONE, rate, 60)
    assert type(found.sample_rate) is int
    assert found.sample_rate == RATE


@pytest.mark.parametrize(
    "rate", [True, np.True_, "16000", 16000.5, float("nan"), float("inf"), [16000], b"1", 1j]
)
def test_any_other_rate_is_refused_in_one_line(rate: Any) -> None:
    with pytest.raises(AudioError, match="a whole number in Hz is needed"):
        waveform_of(TONE, rate, 60)


@pytest.mark.parametrize(
    ("samples", "order"),
    [
        (np.stack([TONE, TONE]), "(n_channels, n_samples)"),
        (np.stack([TONE, TONE], axis=1), "(n_samples, n_channels)"),
        (np.stack([(TONE * 32768).astype(np.int16)] * 6, axis=1), "(n_samples, n_channels)"),
        (pd.DataFrame({"left": TONE, "right": TONE}), "(n_samples, n_channels)"),
    ],
)
def test_channels_are_averaged_and_the_axis_that_was_taken_is_said(samples: Any, order: str) -> None:
    with pytest.warns(UserWarning, match="averaged") as told:
        found = waveform_of(samples, RATE, 60)
    assert f"taken as {order} and averaged" in str(told[0].message)
    np.testing.assert_allclose(found.samples, TONE, atol=1e-4)


@pytest.mark.parametrize(
    "samples", [TONE, TONE[None], TONE[:, None], pd.Series(TONE), TONE.astype(np.float64)]
)
def test_of_one_channel_nothing_is_said(samples: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(waveform_of(samples, RATE, 60).samples, TONE)


def test_stereo_samples_are_those_of_the_same_file(tmp_path: Path) -> None:
    stereo = np.random.default_rng(0).normal(0, 0.1, (RATE, 3)).astype(np.float32)
    soundfile.write(tmp_path / "three.wav", stereo, RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match="averaged"):
        found = waveform_of(stereo, RATE, 60)
    np.testing.assert_array_equal(found.samples, waveform_of(tmp_path / "three.wav", None, 60).samples)


@pytest.mark.filterwarnings("ignore:.*averaged")
@pytest.mark.parametrize(
    ("source", "rate", "reason"),
    [
        (np.ones((5, 5)), RATE, "does not say which axis is the channels"),
        (np.ones((RATE, 65)), RATE, "does not say which axis is the channels"),
        (np.ones((RATE, 0)), RATE, "does not say which axis is the channels"),
        (np.ones((5, 5, 5)), RATE, "mono samples of shape"),
        (np.float32(0.5), RATE, "mono samples of shape"),
        (np.stack([TONE, -TONE]), RATE, "opposite phase"),
        (TONE, None, "samples without their rate"),
        (np.array(["a.wav", "b.wav"]), RATE, "samples are <U5"),
        ("gone.wav", None, "gone.wav: no such file"),
        ("gone.wav", RATE, "this source has its own"),
        (io.StringIO("text"), None, "open it with 'rb'"),
        (io.BytesIO(), None, r"gives no bytes; .* file.seek\(0\)"),
        (b"", None, "empty: 0 bytes"),
        (TONE.data, None, "a view of numbers"),
        (None, None, "NoneType cannot be predicted; a path"),
        (3, None, "int cannot be predicted"),
        (iter(["a.wav"]), None, "cannot be predicted"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(source: Any, rate: Any, reason: str) -> None:
    with pytest.raises(AudioError, match=reason) as caught:
        waveform_of(source, rate, 60)
    assert "\n" not in str(caught.value)


def test_a_closed_file_is_one_line(path: Path) -> None:
    with path.open("rb") as file:
        pass
    with pytest.raises(AudioError, match=r"the open file cannot be read: .*closed"):
        waveform_of(file, None, 60)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_is_answered_with_a_list_in_its_order(kind: type, bundle: Bundle, path: Path) -> None:
    one = bundle.predict(path)
    found = bundle.predict(kind([path, path.read_bytes(), io.BytesIO(path.read_bytes())]))
    assert [answer.by_label() for answer in found] == [one.by_label()] * 3
    assert bundle.predict(kind()) == []
    (of_samples,) = bundle.predict(kind([TONE]), RATE)
    assert of_samples.by_label() == one.by_label()


def test_the_pair_that_soundfile_reads_is_answered_with_the_right_call(bundle: Bundle, path: Path) -> None:
    pair = soundfile.read(path)
    with pytest.raises(AudioError, match=r"two arguments: predict\(samples, sample_rate\)"):
        bundle.predict(pair)
    assert bundle.predict(*pair).label == bundle.predict(path).label


@pytest.mark.parametrize(("channel", "scale"), [("left", 1), ("right", -1)])
def test_a_bundle_of_one_channel_reads_it_of_files_and_samples_alike(
    channel: Channel, scale: int, tmp_path: Path
) -> None:
    stereo = np.stack([TONE, -TONE], 1)
    soundfile.write(tmp_path / "opposite.wav", stereo, RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match=f"the {channel} one is read"):
        found = waveform_of(stereo.T, RATE, 60, channel)
    for one in (found, waveform_of(tmp_path / "opposite.wav", None, 60, channel)):
        np.testing.assert_allclose(one.samples, scale * TONE, atol=1e-6)
