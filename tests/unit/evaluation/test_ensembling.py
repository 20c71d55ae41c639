"""Laws of late fusion."""

import random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.evaluation.ensembling import average, fit_weights, pool
from marsbench.evaluation.formulas import log_loss

law = settings(deadline=None, max_examples=30)


class Said(NamedTuple):
    """What models say of some clips, (n_models, n_clips, n_classes), and the truth."""

    probabilities: NDArray[np.float64]
    targets: NDArray[np.int64]


@st.composite
def said(draw: st.DrawFn) -> Said:
    """Models of any skill, some of them alike, some sure of what is wrong."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_models, n_clips, n_classes = (draw(st.integers(*ends)) for ends in ((1, 5), (1, 60), (2, 4)))
    targets = generator.integers(n_classes, size=n_clips)
    skills = generator.normal(1, 2, n_models)
    scores = generator.normal(size=(n_models, n_clips, n_classes)) * draw(st.sampled_from([0.1, 1, 10, 100]))
    scores += generator.normal(size=(n_clips, n_classes))
    scores[:, np.arange(n_clips), targets] += skills[:, None]
    powers = np.exp(scores - scores.max(axis=2, keepdims=True))
    return Said(powers / powers.sum(axis=2, keepdims=True), targets)


def loss(found: Said, weights: NDArray[np.float64]) -> float:
    return log_loss(found.targets, pool(found.probabilities, weights))


def pull(found: Said, weights: NDArray[np.float64]) -> float:
    """Nats a clip by which weights may be better that are not taken, since they are far from equal ones."""
    return float(((weights - 1 / len(weights)) ** 2).sum() / len(found.targets))


@law
@given(said())
def test_weights_are_finite_and_not_negative_and_give_probabilities(found: Said) -> None:
    weights = fit_weights(*found)
    assert weights.shape == (len(found.probabilities),)
    assert (weights >= 0).all()
    assert np.isfinite(weights).all()
    assert pool(found.probabilities, weights).sum(axis=1) == pytest.approx(1)


@law
@given(said())
def test_the_pool_is_never_worse_than_the_best_model_or_equal_weights(found: Said) -> None:
    n_models = len(found.probabilities)
    others = [*np.eye(n_models), np.full(n_models, 1 / n_models)]
    least = loss(found, fit_weights(*found))
    assert least <= min(loss(found, one) + pull(found, one) for one in others) + 1e-6


@law
@given(said(), st.integers(0, 2**32 - 1))
def test_no_other_weights_are_better(found: Said, seed: int) -> None:
    least = loss(found, fit_weights(*found))
    others = np.random.default_rng(seed).dirichlet(np.full(len(found.probabilities), 0.5), 50)
    assert least <= min(loss(found, one) + pull(found, one) for one in others) + 1e-6


@law
@given(said(), st.randoms())
def test_the_order_of_models_does_not_matter(found: Said, shuffling: random.Random) -> None:
    order = list(range(len(found.probabilities)))
    shuffling.shuffle(order)
    weights = fit_weights(*found)
    assert fit_weights(found.probabilities[order], found.targets) == pytest.approx(weights[order], abs=1e-3)


@law
@given(said())
def test_a_model_that_is_there_twice_shares_its_weight_and_changes_nothing(found: Said) -> None:
    twice = Said(np.concatenate([found.probabilities, found.probabilities[:1]]), found.targets)
    weights = fit_weights(*twice)
    assert weights[0] == pytest.approx(weights[-1], abs=1e-3)
    assert loss(twice, weights) == pytest.approx(loss(found, fit_weights(*found)), abs=3 / len(found.targets))


@law
@given(said())
def test_a_model_that_is_always_right_has_the_highest_weight(found: Said) -> None:
    sure = np.eye(found.probabilities.shape[2])[found.targets]
    probabilities = np.concatenate([found.probabilities, sure[None]])
    weights = fit_weights(probabilities, found.targets)
    assert weights[-1] == pytest.approx(weights.max())


def test_a_model_that_knows_nothing_gets_a_small_share() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(3, size=500)
    right = np.where(generator.random(500) < 0.8, targets, (targets + 1) % 3)
    knows, guesses = np.full((500, 3), 0.1), generator.dirichlet(np.ones(3), 500)
    knows[np.arange(500), right] = 0.8
    weights = fit_weights(np.stack([knows, guesses]), targets)
    assert weights[0] > 0.7
    assert weights[1] < 0.1


def test_models_that_err_apart_are_surer_together_than_their_mean() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(2, size=2000)
    models = np.full((3, 2000, 2), 0.2)
    for model in models:
        right = np.where(generator.random(2000) < 0.8, targets, 1 - targets)
        model[np.arange(2000), right] = 0.8
    weights = fit_weights(models, targets)
    # Three independent witnesses: Bayes' rule multiplies what each of them says.
    assert weights == pytest.approx([1, 1, 1], abs=0.1)
    assert log_loss(targets, pool(models, weights)) < log_loss(targets, average(models)) - 0.05


def test_no_model_alone_rules_a_class_out() -> None:
    vetoing = np.array([[[1.0, 0.0]], [[0.01, 0.99]]])
    assert pool(vetoing, np.array([0.5, 1.0]))[0, 1] > 0.5


def test_a_pool_is_the_normalised_product_of_powers() -> None:
    probabilities = np.array([[[0.8, 0.2]], [[0.4, 0.6]]])
    powers = np.array([0.8 * 0.4**0.5, 0.2 * 0.6**0.5])
    assert pool(probabilities, np.array([1.0, 0.5]))[0] == pytest.approx(powers / powers.sum())


def test_the_average_is_the_mean() -> None:
    assert average(np.array([[[0.8, 0.2]], [[0.4, 0.6]]])) == pytest.approx(np.array([[0.6, 0.4]]))
