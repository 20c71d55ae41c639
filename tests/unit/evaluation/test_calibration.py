import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference

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
