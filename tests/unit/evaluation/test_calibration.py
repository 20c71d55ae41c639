import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference

from fixtures.results import made
from marsbench.evaluation.by_group import by_confidence
from marsbench.evaluation.formulas import Bin, calibration_error, log_loss, reliability


def drawn(seed: int, n_clips: int = 40, n_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, n_classes, n_clips), generator.dirichlet(np.ones(n_classes), n_clips)


@given(st.integers(0, 2**32 - 1))
def test_log_loss_equals_scikit_learns(seed: int) -> None:
    targets, probabilities = drawn(seed)
    there = reference(targets, probabilities, labels=range(4))
    assert log_loss(targets, probabilities) == pytest.approx(there, abs=1e-12)


def test_a_sure_mistake_costs_much_and_not_infinitely_much() -> None:
    assert 30 < log_loss(np.array([0]), np.array([[0.0, 1.0]])) < 40


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_bins_hold_every_clip_once_and_its_confidence(seed: int, n_bins: int) -> None:
    targets, probabilities = drawn(seed)
    bins = reliability(targets, probabilities, n_bins)
    assert sum(entry.n_clips for entry in bins) == len(targets)
    confidence = sum(entry.n_clips * entry.confidence for entry in bins) / len(targets)
    assert confidence == pytest.approx(probabilities.max(axis=1).mean())
    assert [entry.confidence for entry in bins] == sorted(entry.confidence for entry in bins)


def test_probabilities_that_come_true_have_no_calibration_error() -> None:
    targets, probabilities = np.array([0, 0, 0, 1]), np.tile([0.75, 0.25], (4, 1))
    assert calibration_error(reliability(targets, probabilities)) == pytest.approx(0)


def test_the_calibration_error_weighs_bins_by_their_clips() -> None:
    assert calibration_error([Bin(0.9, 0.5, 30), Bin(0.3, 0.3, 10)]) == pytest.approx(0.3)


def test_a_bin_includes_its_upper_edge() -> None:
    bins = reliability(np.array([0, 0]), np.array([[0.5, 0.5], [1.0, 0.0]]), 10)
    assert [(entry.confidence, entry.n_clips) for entry in bins] == [(0.5, 1), (1.0, 1)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 6))
def test_ranges_of_confidence_hold_every_clip_once_and_20_or_more(
    seed: int, n_clips: int, n_classes: int
) -> None:
    targets, probabilities = drawn(seed, n_clips, n_classes)
    found = by_confidence(made(targets, probabilities))
    assert sum(one.n_clips for one in found) == n_clips
    assert min(one.n_clips for one in found) >= min(20, n_clips)
    assert [one.above for one in found] == [0, *(one.up_to for one in found[:-1])]
    assert found[-1].up_to == 1
    right = sum(one.n_clips * one.accuracy.value for one in found)
    assert right == pytest.approx((probabilities.argmax(axis=1) == targets).sum())


def test_a_range_of_confidence_has_the_accuracy_of_its_own_clips() -> None:
    sure = np.repeat([0.6, 0.8, 0.9], [30, 5, 40])
    targets = np.repeat([0, 1, 0, 1], [15, 20, 30, 10])
    low, high = by_confidence(made(targets, np.stack([sure, 1 - sure], axis=1)))
    assert (low.above, low.up_to, low.n_clips) == (0.0, 0.8, 35)
    assert low.accuracy.value == pytest.approx(15 / 35)
    assert (high.n_clips, high.accuracy.value) == (40, 0.75)
    assert high.accuracy.low < 0.75 < high.accuracy.high
