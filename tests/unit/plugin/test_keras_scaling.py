"""Standardisation by training statistics."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.errors import PluginError
from marsbench.plugin.features import Features, pad
from marsbench.plugin.keras.preprocessing import Scaling


def features(lengths: list[int], n_frames: int | None = None) -> Features:
    random = np.random.default_rng(len(lengths))
    return pad([random.normal(5, 3, (length, 4)).astype(np.float32) for length in lengths], n_frames)


@given(st.lists(st.integers(2, 9), min_size=2, max_size=6))
def test_the_training_clips_real_frames_get_mean_0_and_deviation_1(lengths: list[int]) -> None:
    train = features(lengths, 12)
    scaled = Scaling.fit(train).apply(train)[train.is_real]
    assert scaled.dtype == np.float32
    assert np.allclose(scaled.mean(axis=0), 0, atol=1e-4)
    assert np.allclose(scaled.std(axis=0), 1, atol=1e-4)


def test_padding_stays_zero_and_counts_for_nothing() -> None:
    short, long = features([3, 5], 5), features([3, 5], 50)
    scaled = Scaling.fit(long).apply(long)
    assert not scaled[~long.is_real].any()
    assert np.array_equal(scaled[:, :5], Scaling.fit(short).apply(short))


def test_vectors_are_scaled_by_dimension() -> None:
    vectors = features([3, 4, 5]).pooled()
    scaled = Scaling.fit(vectors).apply(vectors)
    assert np.allclose(scaled.mean(axis=0), 0, atol=1e-5)


def test_a_constant_dimension_becomes_zero() -> None:
    constant = pad([np.full((3, 2), 7, np.float32)], None)
    assert not Scaling.fit(constant).apply(constant).any()


def test_no_scaling_leaves_values_as_they_are() -> None:
    train = features([3, 5])
    assert np.array_equal(Scaling.identity(train).apply(train), train.values)


def test_features_are_not_modified() -> None:
    train = features([3, 5])
    before = train.values.copy()
    Scaling.fit(train).apply(train)
    assert np.array_equal(train.values, before)


def test_another_number_of_dimensions_is_refused() -> None:
    scaling = Scaling(np.zeros(3), np.ones(3))
    with pytest.raises(PluginError, match="fitted on 3 feature dimensions; the given features have 4"):
        scaling.apply(features([3]))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    scaling = Scaling.fit(features([3, 5]))
    scaling.save(tmp_path / "scaling.npz")
    loaded = Scaling.load(tmp_path / "scaling.npz")
    assert np.array_equal(loaded.mean, scaling.mean)
    assert np.array_equal(loaded.deviation, scaling.deviation)


@pytest.mark.parametrize("content", [None, b"", b"no zip", b"\x80\x04N."])
def test_anything_else_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "scaling.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PluginError, match="is not a feature scaling"):
        Scaling.load(path)
