import numpy as np
import pytest

from marsbench.app.views import (
    as_image,
    draw_waveform,
    envelope,
    over_time,
    segments,
    table,
    timeline,
)
from marsbench.data.audio import Waveform
from marsbench.deployment.prediction import Prediction, Window


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
    for shown in (table("prediction", hostile), timeline(hostile)):
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown


def test_a_plot_is_an_image_of_its_own() -> None:
    samples = np.sin(np.arange(4000)).astype(np.float32)
    shown = as_image(draw_waveform(Waveform(samples, 1000)), "Waveform")
    assert shown.startswith('<img class="plot" alt="Waveform" src="data:image/svg+xml;base64,')
