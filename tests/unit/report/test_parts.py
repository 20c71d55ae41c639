import base64
import io
import re

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from fixtures.results import made
from marsbench.data.audio import Waveform
from marsbench.evaluation.by_group import by_speaker
from marsbench.report.charts import RATE, calibration, draw_spectrogram, mark, nice_ticks, png_uri, shades
from marsbench.report.corpus_view import draw_histogram
from marsbench.report.run_view import most_misclassified, player

PREDICTIONS = made(
    targets=[0, 1, 1, 0],
    probabilities=np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]]),
    speakers=["x", "x", "y", None],
    labels=["low", "high"],
)


def sine(frequency: float, seconds: float, rate: int = RATE) -> Waveform:
    times = np.arange(int(seconds * rate)) / rate
    return Waveform(np.sin(2 * np.pi * frequency * times).astype(np.float32), rate)


def test_calibration_error_and_log_loss_are_those_of_their_formulas() -> None:
    found = calibration(PREDICTIONS)
    assert found.error == pytest.approx((0.1 + 0.8 + 0.3 + 0.55) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.2, 0.7, 0.45]).mean())
    assert found.chance == pytest.approx(np.log(2))


def test_a_clip_held_for_impossible_does_not_make_the_log_loss_infinite() -> None:
    assert np.isfinite(calibration(made([0], np.array([[0.0, 1.0]]))).log_loss)


def test_the_surest_error_comes_first_and_right_clips_do_not_come() -> None:
    found = most_misclassified(PREDICTIONS)
    assert [(entry.clip, entry.label, entry.predicted) for entry in found] == [
        ("clip 1", "high", "low"), ("clip 3", "low", "high"),
    ]  # fmt: skip
    assert found[0].probability == pytest.approx(0.8)
    assert found[0].of_truth == pytest.approx(0.2)


def test_the_hardest_speaker_comes_first_and_unknown_ones_do_not_come() -> None:
    found = by_speaker(PREDICTIONS)
    assert [(entry.speaker, entry.accuracy, entry.recalls) for entry in found] == [
        ("x", 0.5, [1.0, 0.0]), ("y", 1.0, [None, 1.0]),
    ]  # fmt: skip


@pytest.mark.parametrize(("frequency", "band"), [(200, (50, 63)), (1000, (36, 42)), (6000, (5, 9))])
def test_a_tone_is_bright_in_its_band_high_ones_on_top(frequency: float, band: tuple[int, int]) -> None:
    brightest = shades(sine(frequency, 1.0).samples).mean(axis=1).argmax()
    assert band[0] <= brightest <= band[1]


def test_a_long_clip_gives_no_wider_picture() -> None:
    assert shades(sine(500, 60).samples).shape[1] < 330


def test_a_clip_shorter_than_a_window_has_a_picture() -> None:
    assert shades(sine(500, 0.01).samples).shape == (64, 1)


def test_the_picture_is_a_png_of_its_shades() -> None:
    pixels = np.array([[0, 31], [31, 0]], np.uint8)
    data = base64.b64decode(png_uri(pixels).partition(",")[2])
    read = imread(io.BytesIO(data))
    assert read.shape[:2] == (2, 2)
    assert read[0, 1][:3].sum() > read[0, 0][:3].sum()


def test_a_spectrogram_has_axes_and_words() -> None:
    drawn = draw_spectrogram(sine(500, 3, 8000), "<clip>")
    assert "kHz" in drawn
    assert 'aria-label="Log-mel spectrogram of &lt;clip&gt;"' in drawn


@pytest.mark.parametrize("seconds", [0.2, 4.0, 60.0])
def test_a_player_holds_16_khz_mono_vorbis_of_bounded_size(seconds: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, int(seconds * 44_100)).astype(np.float32)
    uri = player(Waveform(noise, 44_100))
    data = base64.b64decode(uri.removeprefix("data:audio/ogg;base64,"))
    info = soundfile.info(io.BytesIO(data))
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "VORBIS")
    assert len(data) < 44_000


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1, 40, [10, 20, 30, 40]),
        (0.31, 0.34, [0.31, 0.32, 0.33, 0.34]),
        (-3, 3, [-3, -2, -1, 0, 1, 2, 3]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


@given(values=st.lists(st.floats(-60, 1e4), min_size=1, max_size=30))
def test_every_value_is_in_one_bar_of_a_histogram(values: list[float]) -> None:
    counts = re.findall(r": ([\d,]+) clips</title>", draw_histogram(values, "duration", "s"))
    assert sum(map(int, counts)) == len(values)


def test_words_in_a_plot_are_escaped() -> None:
    assert "&lt;b&gt;" in mark("text", "tick", "<b>", x=0, y=0)
