"""Laws of augmentation: what it may change, and that only the generator decides how."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.plugin.features import Floats
from marsbench.plugin.keras.preprocessing import Augmentation
from marsbench.plugin.search_space import Defaults

STRENGTHS = tuple(field.name for field in fields(Augmentation))
FRAMES_ONLY = {"shift", "time_mask"}
N_CLASSES = 3

shares = st.one_of(st.just(0.0), st.floats(0.01, 0.5))
any_augmentation = st.builds(Augmentation, **dict.fromkeys(STRENGTHS, shares))
seeds = st.integers(0, 2**32)


def as_drawn(function: Callable[..., None]) -> Callable[..., None]:
    """For batches of every shape, augmentations and seeds."""
    clips, frames, dims = st.integers(1, 5), st.none() | st.integers(1, 8), st.integers(1, 6)
    return given(clips, frames, dims, any_augmentation, seeds)(function)


class Batch:
    """Clips of random values; with frames, each has its own number of real ones and zeros behind them."""

    def __init__(self, n_clips: int, n_frames: int | None, n_dims: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        shape = (n_clips, n_dims) if n_frames is None else (n_clips, n_frames, n_dims)
        self.real = np.ones(shape[:-1], np.bool_)
        if n_frames is not None:
            self.real = np.arange(n_frames) < random.integers(1, n_frames + 1, (n_clips, 1))
        self.values: Floats = random.normal(size=shape).astype(np.float32) * self.real[..., None]
        self.targets: Floats = np.eye(N_CLASSES, dtype=np.float32)[random.integers(0, N_CLASSES, n_clips)]

    def varied(self, augmentation: Augmentation, seed: int = 0) -> tuple[Floats, Floats]:
        return augmentation.apply(self.values, self.real, self.targets, np.random.default_rng(seed))


def ones(*shape: int) -> Batch:
    """Clips that are 1 everywhere, so that what is blanked or moved can be told."""
    batch = Batch(shape[0], shape[1] if len(shape) > 2 else None, shape[-1])
    batch.values, batch.real = np.ones(shape, np.float32), np.ones(shape[:-1], np.bool_)
    return batch


@as_drawn
def test_shapes_and_types_are_kept_and_values_stay_finite(
    n_clips: int, n_frames: int | None, n_dims: int, augmentation: Augmentation, seed: int
) -> None:
    batch = Batch(n_clips, n_frames, n_dims)
    for before, after in zip((batch.values, batch.targets), batch.varied(augmentation, seed), strict=True):
        assert after.shape == before.shape
        assert after.dtype == np.float32
        assert np.isfinite(after).all()


@as_drawn
def test_the_examples_given_are_not_modified(
    n_clips: int, n_frames: int | None, n_dims: int, augmentation: Augmentation, seed: int
) -> None:
    batch, untouched = Batch(n_clips, n_frames, n_dims), Batch(n_clips, n_frames, n_dims)
    values, _ = batch.varied(augmentation, seed)
    values += 1  # not even through what is returned
    assert np.array_equal(batch.values, untouched.values)
    assert np.array_equal(batch.real, untouched.real)
    assert np.array_equal(batch.targets, untouched.targets)


@as_drawn
def test_equal_generators_give_equal_results(
    n_clips: int, n_frames: int | None, n_dims: int, augmentation: Augmentation, seed: int
) -> None:
    batch = Batch(n_clips, n_frames, n_dims)
    first, second = batch.varied(augmentation, seed), batch.varied(augmentation, seed)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@as_drawn
def test_each_row_of_targets_still_sums_to_1(
    n_clips: int, n_frames: int | None, n_dims: int, augmentation: Augmentation, seed: int
) -> None:
    _, targets = Batch(n_clips, n_frames, n_dims).varied(augmentation, seed)
    assert np.allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert targets.min() >= 0


@as_drawn
def test_padding_stays_zero_unless_frames_are_moved_or_mixed(
    n_clips: int, n_frames: int | None, n_dims: int, augmentation: Augmentation, seed: int
) -> None:
    batch = Batch(n_clips, n_frames, n_dims)
    values, targets = batch.varied(replace(augmentation, shift=0.0, mixup=0.0), seed)
    assert not values[~batch.real].any()
    assert np.array_equal(targets, batch.targets)


@given(st.none() | st.integers(1, 8), seeds)
def test_without_strength_nothing_changes_and_nothing_is_drawn(n_frames: int | None, seed: int) -> None:
    batch, random = Batch(4, n_frames, 3), np.random.default_rng(seed)
    values, targets = Augmentation().apply(batch.values, batch.real, batch.targets, random)
    assert np.array_equal(values, batch.values)
    assert np.array_equal(targets, batch.targets)
    assert random.bit_generator.state == np.random.default_rng(seed).bit_generator.state


@pytest.mark.parametrize("strength", sorted(set(STRENGTHS) - {"mixup"}))
def test_each_strength_varies_each_clip_differently(strength: str) -> None:
    values, _ = ones(6, 400, 400).varied(Augmentation(**{strength: 0.5}))
    assert len({clip.tobytes() for clip in values}) == 6


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n_frames", [None, 20])
def test_strengths_of_time_alone_leave_vectors_as_they_are(strength: str, n_frames: int | None) -> None:
    batch = Batch(8, n_frames, 12)
    values, _ = batch.varied(Augmentation(**{strength: 0.5}))
    assert np.array_equal(values, batch.values) == (n_frames is None and strength in FRAMES_ONLY)


def stretches(blank: NDArray[np.bool_]) -> int:
    """How many stretches of True there are, one behind another."""
    return int(np.count_nonzero(np.diff(np.concatenate([[0], blank.astype(int)])) == 1))


@pytest.mark.parametrize(("strength", "axis"), [("time_mask", 1), ("dimension_mask", 2)])
@given(share=st.floats(0.01, 1.0), length=st.integers(1, 30), seed=seeds)
def test_masks_blank_two_stretches_of_at_most_their_share_across_the_other_axis(
    strength: str, axis: int, share: float, length: int, seed: int
) -> None:
    shape = (5, length, 4) if axis == 1 else (5, 4, length)
    values, _ = ones(*shape).varied(Augmentation(**{strength: share}), seed)
    assert set(np.unique(values)) <= {0, 1}
    for clip in values:
        blank = np.moveaxis(clip, axis - 1, 0) == 0
        assert np.array_equal(blank.all(axis=1), blank.any(axis=1))
        assert blank.all(axis=1).sum() <= 2 * int(share * length)
        assert stretches(blank.all(axis=1)) <= 2


@given(share=st.floats(0.01, 1.0), n_dims=st.integers(1, 30), seed=seeds)
def test_dimensions_of_vectors_are_masked_too(share: float, n_dims: int, seed: int) -> None:
    values, _ = ones(5, n_dims).varied(Augmentation(dimension_mask=share), seed)
    assert ((values == 0).sum(axis=1) <= 2 * int(share * n_dims)).all()


@given(share=st.floats(0.01, 1.0), n_frames=st.integers(1, 20), seed=seeds)
def test_a_shift_moves_whole_frames_by_at_most_its_share_and_fills_with_zeros(
    share: float, n_frames: int, seed: int
) -> None:
    batch = Batch(5, n_frames, 2)
    values, _ = batch.varied(Augmentation(shift=share), seed)
    most = int(share * n_frames)
    for before, after in zip(batch.values, values, strict=True):
        around = np.pad(before, ((most, most), (0, 0)))
        assert any(np.array_equal(after, around[start : start + n_frames]) for start in range(2 * most + 1))


@given(seeds)
def test_gain_multiplies_a_clip_by_one_positive_factor(seed: int) -> None:
    batch = ones(5, 6, 3)
    factors = batch.varied(Augmentation(gain=0.2), seed)[0].reshape(5, -1)
    assert (factors == factors[:, :1]).all()
    assert factors.min() > 0


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    batch = ones(20, 50, 20)
    noise = batch.varied(Augmentation(noise=0.3))[0] - batch.values
    assert noise.std() == pytest.approx(0.3, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.02)


@given(alpha=st.floats(0.05, 2.0), seed=seeds)
def test_mixup_mixes_values_and_targets_alike_and_the_own_share_is_the_larger(
    alpha: float, seed: int
) -> None:
    batch = Batch(6, 4, N_CLASSES)
    batch.values = np.repeat(batch.targets[:, None], 4, axis=1)  # each frame says its clip's class
    values, targets = batch.varied(Augmentation(mixup=alpha), seed)
    assert np.allclose(values, targets[:, None], atol=1e-6)
    assert (targets[batch.targets == 1] >= 0.5).all()


def declared(has_frames: bool, **overrides: Any) -> tuple[Augmentation | None, Defaults]:
    hp = Defaults(overrides)
    return Augmentation.declare(hp, has_frames), hp


@pytest.mark.parametrize("has_frames", [False, True])
def test_nothing_is_varied_by_default_and_no_strength_is_active(has_frames: bool) -> None:
    augmentation, hp = declared(has_frames)
    assert augmentation is None
    assert hp.values == {"augment": False}


@pytest.mark.parametrize("has_frames", [False, True])
def test_every_strength_that_makes_sense_is_declared_under_the_condition(has_frames: bool) -> None:
    _, hp = declared(has_frames)
    conditions = {dimension.name: dimension.when for dimension in hp.space if dimension.name != "augment"}
    assert set(conditions) == set(STRENGTHS) - (set() if has_frames else FRAMES_ONLY)
    assert set(conditions.values()) == {(("augment", (True,)),)}


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_declared_strength_is_the_one_that_is_applied(strength: str) -> None:
    augmentation, hp = declared(True, **{"augment": True, strength: 0.15})
    assert getattr(augmentation, strength) == hp.values[strength] == 0.15


def test_vectors_get_no_strength_of_time() -> None:
    augmentation, hp = declared(False, augment=True)
    assert augmentation is not None
    assert augmentation.shift == augmentation.time_mask == 0
    assert not FRAMES_ONLY & set(hp.values)
