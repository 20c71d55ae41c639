"""Which of several contenders make an ensemble."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fixtures.results import made
from marsbench.automl.selection import (
    Candidate,
    Contender,
    best_members,
    improves_pool,
    pooled_contender,
    pooled_log_loss,
)
from marsbench.runner.ensemble_job import InnerPredictions

N_FOLDS, N_CLIPS, N_CLASSES = 3, 60, 3


def contender(name: str, says: NDArray[np.float64], targets: NDArray[np.int64]) -> Contender:
    """One that says `says` of the clips of each fold, (N_FOLDS, N_CLIPS, N_CLASSES)."""
    inner = tuple(InnerPredictions(made(truth, one), ()) for one, truth in zip(says, targets, strict=True))
    return Contender(cast("Candidate", SimpleNamespace(name=name)), inner, "macro_f1")


def targets_of(random: np.random.Generator) -> NDArray[np.int64]:
    return random.integers(N_CLASSES, size=(N_FOLDS, N_CLIPS))


def noisy(random: np.random.Generator, targets: NDArray[np.int64], noise: float) -> NDArray[np.float64]:
    scores = 2.0 * np.eye(N_CLASSES)[targets] + noise * random.normal(size=(*targets.shape, N_CLASSES))
    powers = np.exp(scores)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def test_one_that_errs_elsewhere_is_taken_in_and_a_copy_is_not() -> None:
    random = np.random.default_rng(0)
    targets = targets_of(random)
    first, other = (noisy(random, targets, 2.0) for _ in range(2))
    contenders = [
        contender(name, says, targets) for name, says in (("first", first), ("copy", first), ("other", other))
    ]
    chosen = [one.name for one in best_members(contenders)]
    assert len(chosen) == 2
    assert "other" in chosen


def test_chance_is_not_taken_in() -> None:
    random = np.random.default_rng(1)
    targets = targets_of(random)
    good = contender("good", noisy(random, targets, 1.0), targets)
    chance = contender("chance", np.full((N_FOLDS, N_CLIPS, N_CLASSES), 1 / N_CLASSES), targets)
    assert best_members([chance, good]) == [good]


@pytest.mark.parametrize("n_folds", range(1, N_FOLDS + 1))
@pytest.mark.parametrize(("noise", "is_wanted"), [(3.0, True), (50.0, False)])
def test_one_that_is_worse_stays_in_the_race_if_it_helps_the_best(
    n_folds: int, noise: float, *, is_wanted: bool
) -> None:
    random = np.random.default_rng(3)
    targets = targets_of(random)
    best, worse = (contender(str(one), noisy(random, targets, one), targets) for one in (1.5, noise))
    assert worse.score < best.score
    assert improves_pool(worse.first(n_folds), [best]) == is_wanted


def test_a_copy_of_a_member_does_not_stay_in_the_race() -> None:
    random = np.random.default_rng(4)
    targets = targets_of(random)
    first, other = (contender(str(n), noisy(random, targets, 2.0), targets) for n in range(2))
    assert not improves_pool(other.first(1), [first, other])


def test_no_more_are_taken_than_asked_for() -> None:
    random = np.random.default_rng(2)
    targets = targets_of(random)
    contenders = [contender(str(n), noisy(random, targets, 2.0), targets) for n in range(6)]
    assert len(best_members(contenders)) > 3
    assert len(best_members(contenders, most=3)) == 3


@settings(deadline=None, max_examples=20)  # a few hundred fits of weights each
@given(seed=st.integers(0, 2**16), n=st.integers(1, 5))
def test_the_best_alone_begins_and_members_differ(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    targets = targets_of(random)
    contenders = [
        contender(str(k), noisy(random, targets, random.uniform(0.5, 4)), targets) for k in range(n)
    ]
    chosen = best_members(contenders)
    assert chosen[0].score == max(one.score for one in contenders)
    assert len({one.name for one in chosen}) == len(chosen)
    assert pooled_log_loss(chosen) <= pooled_log_loss(chosen[:1])


def test_the_weights_that_a_fold_meets_are_those_of_the_other_folds() -> None:
    random = np.random.default_rng(3)
    targets = targets_of(random)
    says = [noisy(random, targets, 2.0) for _ in range(2)]

    def pooled_score() -> float:
        members = [contender(str(k), one, targets) for k, one in enumerate(says)]
        return pooled_contender(members).score

    before = pooled_score()
    # In fold 0 one of them is right and the other wrong, which only that fold's own weights could tell.
    says[0][0] = np.eye(N_CLASSES)[targets[0]]
    says[1][0] = np.eye(N_CLASSES)[(targets[0] + 1) % N_CLASSES]
    told = pooled_score()
    assert told < 1
    assert told != pytest.approx(before)
