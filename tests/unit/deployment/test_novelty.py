"""A recording unlike the training clips is marked; new speakers in the setting of training are not."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from marsbench.deployment.bundle_record import NoveltyRecord
from marsbench.deployment.novelty import UNLIKE, Novelty, as_vector, mean_novelty
from marsbench.errors import PluginError, ResultsError

Vectors = NDArray[np.float64]
WIDTH = 12


def voices(n_speakers: int, n_clips: int = 12, seed: int = 0) -> tuple[Vectors, NDArray[np.int64]]:
    """Clips of speakers who differ as much as their clips do, and the speaker of each."""
    random = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(n_speakers), n_clips)
    own = random.normal(size=(n_speakers, WIDTH))[speakers]
    mixing = np.random.default_rng(9).normal(size=(WIDTH, WIDTH))  # the same for every seed
    return (own + random.normal(size=own.shape)) @ mixing + 100, speakers


def novelty(n_speakers: int = 24, scale: float = 1, shift: float = 0) -> Novelty:
    vectors, speakers = voices(n_speakers)
    found = Novelty.of_clips(scale * vectors + shift, speakers)
    assert found is not None
    return found


def windows(vectors: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    return list(vectors.astype(np.float32))


def test_about_one_percent_of_the_clips_of_new_speakers_is_marked() -> None:
    others = windows(voices(300, seed=1)[0])
    assert np.mean(novelty(n_speakers=60).of_windows(others) > UNLIKE) < 0.03


@pytest.mark.parametrize(("n_speakers", "n_clips"), [(5, 24), (10, 34), (24, 12)])
def test_with_many_features_and_few_clips_no_more_of_them_is_marked(n_speakers: int, n_clips: int) -> None:
    """The parts that a clip is measured from have as many components as all clips together."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(150, 150))
    speakers = np.repeat(np.arange(n_speakers), n_clips)
    found = Novelty.of_clips(random.normal(size=(len(speakers), 150)) @ mixing, speakers)
    assert found is not None
    new = windows(random.normal(size=(500, 150)) @ mixing)
    assert np.mean(found.of_windows(new) > UNLIKE) < 0.06


def test_measured_from_their_own_speakers_more_of_them_would_be() -> None:
    """With as many values as here, a new speaker is farther than any clip whose speaker is known."""
    vectors, speakers = voices(12)
    known = Novelty.of_clips(vectors, np.arange(len(vectors)))
    assert known is not None
    others = windows(voices(300, seed=1)[0])
    by_speaker = Novelty.of_clips(vectors, speakers)
    assert by_speaker is not None
    assert np.mean(by_speaker.of_windows(others) > UNLIKE) < np.mean(known.of_windows(others) > UNLIKE)


@pytest.mark.parametrize("far", [5.0, 1e3, 1e30])
def test_what_is_far_from_every_clip_is_beyond_all_of_them(far: float) -> None:
    clip = voices(1, 1)[0] + far * 100
    assert novelty().of_windows(windows(clip)).tolist() == [1.0]


def test_the_middle_of_the_training_clips_is_not_unlike_them() -> None:
    assert novelty().of_windows(windows(voices(24)[0].mean(axis=0, keepdims=True))).tolist() == [0.0]


@settings(max_examples=8, deadline=None)
@given(scale=st.sampled_from([1e-6, 1e-2, 1.0, 1e4]), shift=st.sampled_from([0.0, -50.0, 200.0]))
def test_units_of_the_features_do_not_matter(scale: float, shift: float) -> None:
    others = voices(5, seed=2)[0]
    found = novelty(scale=scale, shift=scale * shift).of_windows(windows(scale * (others + shift)))
    assert found == pytest.approx(novelty().of_windows(windows(others)), abs=0.01)


def test_a_value_that_never_varied_in_training_does_not_matter() -> None:
    vectors, speakers = voices(24)
    with_constant = Novelty.of_clips(np.column_stack([vectors, np.full(len(vectors), 3.0)]), speakers)
    assert with_constant is not None
    others = voices(5, seed=2)[0]
    found = with_constant.of_windows(windows(np.column_stack([others, np.full(len(others), 4.0)])))
    assert found == pytest.approx(novelty().of_windows(windows(others)), abs=0.01)


@pytest.mark.parametrize(
    ("vectors", "groups"),
    [
        (np.random.default_rng(0).normal(size=(99, 3)), np.arange(99)),
        (np.random.default_rng(0).normal(size=(200, 3)), np.zeros(200, int)),
        (np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) // 190),
        (np.ones((200, 3)), np.arange(200)),
    ],
    ids=["too few clips", "one speaker", "nearly one speaker", "features that are all alike"],
)
def test_where_nothing_can_be_measured_there_is_no_novelty(
    vectors: NDArray[np.float64], groups: NDArray[np.int64]
) -> None:
    assert Novelty.of_clips(vectors, groups) is None


def test_frames_are_measured_by_means_and_deviations() -> None:
    frames = np.array([[1, 10], [3, 10]], np.float32)
    assert as_vector(frames).tolist() == [2, 10, 1, 0]
    assert as_vector(frames[0]).tolist() == [1, 10]


def test_features_of_another_shape_are_refused() -> None:
    with pytest.raises(PluginError, match="features have 3 values, 12 in training"):
        novelty().of_windows([np.zeros(3, np.float32)])


def test_an_ensemble_has_the_mean_of_the_members_that_measure_it() -> None:
    first, second = np.array([0.5, 1.0]), np.array([0.7, 1.0])
    assert mean_novelty([first, None, second]) == pytest.approx([0.6, 1.0])
    assert mean_novelty([None, None]) is None


def test_what_is_read_measures_as_what_was_written(tmp_path: Path) -> None:
    written, others = novelty(), windows(voices(9, seed=3)[0])
    written.write(tmp_path / "n")
    read = Novelty.read(tmp_path / "n", written.record)
    assert read.of_windows(others) == pytest.approx(written.of_windows(others), abs=1e-4)
    assert read.record == written.record


@pytest.mark.parametrize(
    ("place", "number", "told"),
    [
        (-1, None, "not of the size"),
        (0, np.nan, "not finite"),
        (30, np.inf, "not finite"),
        (-1, 0.0, "do not ascend"),
        (-len(voices(24)[0]), -1.0, "do not ascend"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, place: int, number: float | None, told: str) -> None:
    written = novelty()
    written.write(tmp_path / "n")
    numbers = np.fromfile(tmp_path / "n", "<f4")
    if number is None:
        numbers = numbers[:place]
    else:
        numbers[place] = number
    numbers.tofile(tmp_path / "n")
    with pytest.raises(ResultsError, match=told):
        Novelty.read(tmp_path / "n", written.record)


@pytest.mark.parametrize(
    "sizes", [(0, 1, 2), (1 << 30, 1, 2), (4, 0, 2), (4, 65, 2), (4, 1, 1), (4, 1, 1 << 30), (4.5, 1, 2)]
)
def test_sizes_out_of_bounds_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValidationError):
        NoveltyRecord(width=sizes[0], n_components=sizes[1], n_quantiles=sizes[2])
