import numpy as np
import pytest

from marsbench.app.views import (
    as_csv,
    as_image,
    draw_waveform,
    envelope,
    over_time,
    segments,
    table,
    timeline,
)
from marsbench.data.audio import Waveform
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.prediction import Prediction, Window
from marsbench.errors import AudioError, BenchError


def prediction(*rows: tuple[float, float, float], labels: tuple[str, str] = ("calm", "sad")) -> Prediction:
    """From windows, each with its start, end and probability of the first class."""
    windows = tuple(Window(start, end, np.array([share, 1 - share])) for start, end, share in rows)
    mean = np.mean([window.probabilities for window in windows], axis=0)
    return Prediction(labels, mean, windows, seconds=rows[-1][1], is_narrowband=False)


def test_a_class_is_as_bright_as_the_mean_of_the_windows_over_it() -> None:
    shares = over_time(prediction((0, 2, 1.0), (1, 3, 0.0)), n_columns=3)
    assert shares.tolist() == [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]


def test_silence_between_windows_is_dark() -> None:
    shares = over_time(prediction((0, 1, 1.0), (2, 3, 1.0)), n_columns=3)
    assert shares.sum(axis=0).tolist() == [1.0, 0.0, 1.0]


def test_windows_of_one_class_are_one_stretch() -> None:
    found = segments(prediction((0, 2, 0.9), (1, 3, 0.7), (2, 4, 0.2), (6, 8, 0.2)))
    assert [(start, end, label) for start, end, label, _ in found] == [
        (0, 2, "calm"),
        (2, 4, "sad"),
        (6, 8, "sad"),
    ]
    assert found[0][3] == pytest.approx(0.8)


@pytest.mark.parametrize("n_samples", [1, 239, 240, 100_001])
def test_the_outline_reaches_every_sample(n_samples: int) -> None:
    samples = np.random.default_rng(0).normal(size=n_samples).astype(np.float32)
    low, high = envelope(samples)
    assert len(low) == len(high) == min(n_samples, 240)
    assert (low.min(), high.max()) == (samples.min(), samples.max())


def test_names_of_classes_are_text_and_never_markup() -> None:
    hostile = prediction((0, 2, 0.9), (1, 3, 0.7), labels=("<script>", "b"))
    for shown in (
        table("prediction", hostile, "<script>.wav", "<script>"),
        table("files", [("<script>", hostile), ("a", AudioError("<script>"))]),
        timeline(hostile),
    ):
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown


def test_a_plot_is_an_image_of_its_own() -> None:
    samples = np.sin(np.arange(4000)).astype(np.float32)
    shown = as_image(draw_waveform(Waveform(samples, 1000)), "Waveform")
    assert shown.startswith('<img class="plot" alt="Waveform" src="data:image/svg+xml;base64,')


def test_the_heading_is_the_emotion_or_mixed_where_windows_disagree() -> None:
    sure = table("prediction", prediction((0, 1, 0.9)), "a.wav", "")
    assert '<h2 class="answer"><strong>calm</strong></h2>' in sure
    mixed = table("prediction", prediction((0, 2, 0.9), (1, 3, 0.2)), "a.wav", "")
    assert '<h2 class="answer"><strong>mixed</strong></h2>' in mixed
    assert "calm in 1, sad in 1 of 2 windows" in mixed


def test_several_files_are_a_table_with_a_reason_for_what_was_not_predicted(bundle: Bundle) -> None:
    rows: list[tuple[str, Prediction | BenchError]] = [
        ("a.wav", prediction((0, 1, 0.9))),
        ("b.wav", AudioError("silent")),
    ]
    shown = table("files", rows)
    assert "<td>a.wav</td><td>calm</td>" in shown
    assert "not predicted: silent" in shown
    lines = as_csv(rows, bundle.record).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("a.wav,calm,0.9,")
