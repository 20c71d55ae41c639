from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.data.audio import Waveform, decode, read_bytes
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.prediction import Prediction
from marsbench.errors import AudioError

RATE = 22_050
PITCHES = {"low": 200.0, "middle": 400.0, "high": 800.0}


def tone(label: str, seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * PITCHES[label] * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def test_path_bytes_and_samples_of_a_clip_give_the_same(bundle: Bundle, corpus: CheckedCorpus) -> None:
    for clip in corpus.clips[::7]:
        data = read_bytes(clip.path)
        answers = [bundle.predict(source) for source in (clip.path, str(clip.path), data, decode(data))]
        assert {answer.label for answer in answers} == {clip.label}
        assert len({tuple(answer.probabilities) for answer in answers}) == 1


def test_a_prediction_names_its_classes_in_the_corpuss_order(bundle: Bundle) -> None:
    answer = bundle.predict(Waveform(tone("high", 0.2), RATE))
    assert list(answer.by_label()) == ["low", "middle", "high"]
    assert answer.confidence == max(answer.by_label().values())


def test_a_long_recording_is_heard_window_by_window(bundle: Bundle) -> None:
    samples = np.concatenate([tone("low", 1.0), tone("high", 1.0)])
    answer = bundle.predict(Waveform(samples, RATE))
    labels = [
        max(answer.by_label(w.probabilities).items(), key=lambda item: item[1])[0] for w in answer.windows
    ]
    assert (labels[0], labels[-1]) == ("low", "high")
    assert answer.windows[-1].end == pytest.approx(2.0)
    assert answer.seconds == pytest.approx(2.0)


def test_the_whole_is_the_mean_of_its_windows(bundle: Bundle) -> None:
    answer = bundle.predict(Waveform(np.concatenate([tone("low", 1.0), tone("high", 1.0)]), RATE))
    mean = np.mean([window.probabilities for window in answer.windows], axis=0)
    assert np.allclose(answer.probabilities, mean)


@settings(max_examples=25, deadline=None)
@given(seconds=st.floats(0.11, 5.0))
def test_windows_cover_a_recording_without_a_gap(seconds: float, made: Callable[[float], Prediction]) -> None:
    windows = made(seconds).windows
    assert windows[0].start == 0
    assert windows[-1].end == pytest.approx(seconds, abs=1 / RATE)
    for before, after in pairwise(windows):
        assert before.start < after.start <= before.end


@pytest.fixture(scope="module")
def made() -> Callable[[float], Prediction]:
    """Predicts a tone of some length by a bundle without a model of its own."""
    from marsbench.deployment.bundle_record import BundleRecord, TrainingCorpus
    from marsbench.plugin.model import Model
    from marsbench.plugin.registry import Recipe

    class Even(Model):
        accepts = "vector"

        def predict_proba(self, features: object) -> np.ndarray:
            return np.full((len(features), 2), 0.5)  # type: ignore[arg-type]

    recipe = Recipe("mfcc", {}, discover_source("mfcc"), {})
    trained = TrainingCorpus(
        name="x",
        fingerprint="",
        n_clips=1,
        longest_seconds=0.5,
        median_seconds=0.4,
        lowest_sample_rate=RATE,
        synthetic=True,
        licence="",
    )
    record = BundleRecord(
        features=recipe, model=recipe, hyperparameters={}, labels=["a", "b"], sample_rate=RATE,
        input_shape=[40], corpus=trained, seed=0, environment={},
    )  # fmt: skip
    bundle = Bundle(record, Even(), ())
    return lambda seconds: bundle.predict(Waveform(tone("low", seconds), RATE))


def discover_source(name: str) -> str:
    from marsbench.plugin.registry import discover

    return discover(()).get("features", name).source


def test_silent_stretches_are_passed_over(bundle: Bundle) -> None:
    samples = np.concatenate([tone("low", 0.5), np.zeros(2 * RATE, np.float32), tone("low", 0.5)])
    answer = bundle.predict(Waveform(samples, RATE))
    assert answer.label == "low"
    assert len(answer.windows) < 2 * 3.0 / 0.2


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(RATE, np.float32), "silent"),
        (np.ones(10, np.float32), "too short"),
        (np.ones((RATE, 2, 1), np.float32), "mono samples of shape"),
        (np.full(RATE, np.nan, np.float32), "NaN"),
    ],
)
def test_samples_that_cannot_be_used_are_one_line(bundle: Bundle, samples: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        bundle.predict(Waveform(samples, RATE))


@pytest.mark.parametrize(("rate", "lacks"), [(4000, True), (8000, False), (22_050, False)])
def test_a_recording_of_a_lower_rate_than_those_of_training_is_marked(
    bundle: Bundle, rate: int, lacks: bool
) -> None:
    """The kit's clips have 8000 Hz, its extractor works at 22,050."""
    assert bundle.predict(tone("high", 0.3), rate).is_narrowband is lacks


def test_an_array_is_taken_with_its_rate(bundle: Bundle) -> None:
    samples = tone("high", 0.3)
    expected = bundle.predict(Waveform(samples, RATE)).probabilities
    for array in (samples, samples.astype(np.float64), samples.tolist()):
        found = bundle.predict(np.array(array), RATE)
        assert np.allclose(found.probabilities, expected, atol=1e-6)
    assert bundle.predict(tone("high", 0.6)[::2], RATE // 2).label == "high"


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
def test_an_array_of_integers_is_predicted_as_the_same_floats(bundle: Bundle, dtype: type) -> None:
    info = np.iinfo(dtype)
    half = (int(info.max) + int(info.min) + 1) // 2
    integers: NDArray[Any] = np.round(half + tone("high", 0.3) * (info.max - half)).astype(dtype)
    found, expected = bundle.predict(integers, RATE), bundle.predict(tone("high", 0.3), RATE)

    assert found.label == expected.label == "high"
    assert found.peak == pytest.approx(expected.peak, abs=0.01)


@pytest.mark.parametrize("dtype", [np.int64, bool, object, complex])
def test_an_array_without_a_full_scale_is_refused(bundle: Bundle, dtype: type) -> None:
    with pytest.raises(AudioError, match=r"floats in .-1, 1., or integers of 8, 16 or 32 bits, are needed"):
        bundle.predict((100 * tone("high", 0.3)).astype(dtype), RATE)


def test_floats_far_beyond_full_scale_are_predicted_with_a_warning(bundle: Bundle) -> None:
    with pytest.warns(UserWarning, match="times full scale: floats are expected in"):
        assert bundle.predict(32_767 * tone("high", 0.3), RATE).is_far_beyond_full_scale


def test_an_array_without_its_rate_is_refused(bundle: Bundle) -> None:
    with pytest.raises(AudioError, match="samples without their rate"):
        bundle.predict(tone("high", 0.3))


def test_many_are_predicted_together_in_their_order(bundle: Bundle, corpus: CheckedCorpus) -> None:
    Path("bad.wav").write_text("I am no audio")
    clips = [*corpus.clips, *corpus.clips, *corpus.clips]
    paths = [path for clip in clips for path in (clip.path, Path("bad.wav"))]
    answers = list(bundle.predict_each(paths))
    assert [isinstance(answer, AudioError) for answer in answers] == [False, True] * len(clips)
    for clip, answer in zip(clips, answers[::2], strict=True):
        assert isinstance(answer, Prediction)
        assert np.allclose(answer.probabilities, bundle.predict(clip.path).probabilities, atol=1e-12)


def test_nothing_is_predicted_of_nothing(bundle: Bundle) -> None:
    assert list(bundle.predict_each([])) == []


def test_a_recording_beyond_the_limit_is_refused(bundle: Bundle) -> None:
    with pytest.raises(AudioError, match=r"too long: 2\.0 s, the limit is 1 s"):
        bundle.predict(Waveform(tone("low", 2.0), RATE), max_seconds=1)


def test_a_path_that_is_no_audio_is_named(bundle: Bundle) -> None:
    with pytest.raises(AudioError, match=r"^gone\.wav: no such file"):
        bundle.predict("gone.wav")
