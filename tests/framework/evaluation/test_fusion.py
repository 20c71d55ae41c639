"""Laws of late fusion."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.evaluation.calibration import log_loss
from marsbench.evaluation.fusion import equal_weights, fit_weights, fuse

TOLERANCE = 1.1e-4
"""Nats."""
law = settings(deadline=None, max_examples=50)
"""Degenerate cases take thousands of steps."""


class Said(NamedTuple):
    """What models say of some clips, (n_models, n_clips, n_classes), and the truth."""

    probabilities: NDArray[np.float64]
    targets: NDArray[np.int64]


@st.composite
def said(draw: st.DrawFn) -> Said:
    """Models of any skill, some of them alike, some sure of what is wrong."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_models, n_clips, n_classes = (draw(st.integers(*ends)) for ends in ((1, 5), (1, 60), (2, 4)))
    targets = random.integers(n_classes, size=n_clips)
    skills = random.normal(1, 2, n_models)
    scores = random.normal(size=(n_models, n_clips, n_classes)) * draw(st.sampled_from([0.1, 1, 10, 100]))
    scores += random.normal(size=(n_clips, n_classes))
    scores[:, np.arange(n_clips), targets] += skills[:, None]
    powers = np.exp(scores - scores.max(axis=2, keepdims=True))
    return Said(powers / powers.sum(axis=2, keepdims=True), targets)


def loss(found: Said, weights: NDArray[np.float64]) -> float:
    return log_loss(found.targets, fuse(found.probabilities, weights))


@law
@given(said())
def test_weights_are_not_negative_and_sum_to_one(found: Said) -> None:
    weights = fit_weights(*found)
    assert weights.shape == (len(found.probabilities),)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


@law
@given(said())
def test_the_mean_is_never_worse_than_the_best_model_or_equal_weights(found: Said) -> None:
    n_models = len(found.probabilities)
    others = [*np.eye(n_models), equal_weights(n_models)]
    assert loss(found, fit_weights(*found)) <= min(loss(found, one) for one in others) + TOLERANCE


@law
@given(said(), st.integers(0, 2**32 - 1))
def test_no_other_weights_are_better(found: Said, seed: int) -> None:
    least = loss(found, fit_weights(*found))
    others = np.random.default_rng(seed).dirichlet(np.full(len(found.probabilities), 0.5), 50)
    assert least <= min(loss(found, weights) for weights in others) + TOLERANCE


@law
@given(said(), st.randoms())
def test_the_order_of_models_does_not_matter(found: Said, random: np.random.Generator) -> None:
    order = list(range(len(found.probabilities)))
    random.shuffle(order)
    weights = fit_weights(*found)
    assert fit_weights(found.probabilities[order], found.targets) == pytest.approx(weights[order], abs=1e-5)


@law
@given(said())
def test_a_model_that_is_there_twice_changes_nothing(found: Said) -> None:
    twice = Said(np.concatenate([found.probabilities, found.probabilities[:1]]), found.targets)
    weights = fit_weights(*twice)
    assert weights[0] == pytest.approx(weights[-1], abs=1e-6)
    assert loss(twice, weights) == pytest.approx(loss(found, fit_weights(*found)), abs=TOLERANCE)


@law
@given(said())
def test_a_model_that_is_always_right_and_sure_gets_all_the_weight(found: Said) -> None:
    doubtful = 0.8 * found.probabilities + 0.2 / found.probabilities.shape[2]
    sure = np.eye(found.probabilities.shape[2])[found.targets]
    weights = fit_weights(np.concatenate([doubtful, sure[None]]), found.targets)
    assert weights[-1] == pytest.approx(1, abs=0.01)


def test_two_models_that_know_different_clips_share_the_weight_by_their_clips() -> None:
    first = np.array([[1, 0]] * 5 + [[0.5, 0.5]] * 3)
    second = np.array([[0.5, 0.5]] * 5 + [[1, 0]] * 3)
    weights = fit_weights(np.stack([first, second]), np.zeros(8, np.int64))
    # The derivative of 5 log(1 + w) + 3 log(2 - w) by w is 0 at 7/8.
    assert weights == pytest.approx([0.875, 0.125], abs=0.02)


def test_a_clip_that_no_model_thinks_possible_is_no_obstacle() -> None:
    probabilities = np.array([[[1.0, 0.0], [0.9, 0.1]], [[1.0, 0.0], [0.1, 0.9]]])
    weights = fit_weights(probabilities, np.array([1, 1]))
    assert weights == pytest.approx([0, 1], abs=0.01)


def test_the_fused_probabilities_are_the_weighted_mean() -> None:
    probabilities = np.array([[[0.8, 0.2]], [[0.4, 0.6]]])
    assert fuse(probabilities, np.array([0.75, 0.25])) == pytest.approx(np.array([[0.7, 0.3]]))
