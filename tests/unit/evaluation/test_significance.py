from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from fixtures.results import made
from marsbench.evaluation.metrics import objective_score
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Score
from marsbench.evaluation.significance import (
    ALPHA,
    Difference,
    corrected_t,
    differences,
    holm,
    mcnemar,
    tie_groups,
)

N_CLASSES, N_SPEAKERS, N_FOLDS = 4, 12, 5
TARGETS = np.tile(np.arange(N_CLASSES), 120)
FOLDS = np.arange(len(TARGETS)) // N_CLASSES % N_FOLDS
SPEAKERS = [f"s{row % N_SPEAKERS}" for row in range(len(TARGETS))]


def contender(*seeds: np.ndarray, speakers: Sequence[str] = SPEAKERS) -> list[Predictions]:
    return [made(TARGETS, np.eye(N_CLASSES)[predicted], FOLDS, speakers) for predicted in seeds]


def right_in(share: float, seed: int) -> np.ndarray:
    wrong = np.random.default_rng(seed).random(len(TARGETS)) > share
    return np.where(wrong, (TARGETS + 1) % N_CLASSES, TARGETS)


def test_a_difference_is_that_of_the_scores_and_its_interval_holds_it() -> None:
    first, second = right_in(0.9, 0), right_in(0.6, 1)
    found = differences([contender(first), contender(second)])[0, 1]
    scores = [objective_score("macro_f1", np.eye(N_CLASSES)[one], TARGETS) for one in (first, second)]
    assert found.score.value == pytest.approx(scores[0] - scores[1])
    assert 0 < found.score.low < found.score.value < found.score.high
    assert found.is_real()


def test_a_pipeline_cannot_be_told_from_itself() -> None:
    one = contender(right_in(0.8, 0))
    found = differences([one, one])[0, 1]
    assert (found.p_clips, found.p_folds) == (1.0, 1.0)
    assert not found.is_real()


def test_pairs_come_out_the_same_whoever_stands_beside_them() -> None:
    contenders = [contender(right_in(share, seed)) for seed, share in enumerate((0.9, 0.8, 0.7))]
    together = differences(contenders)
    assert differences(contenders[1:])[0, 1] == together[1, 2]


def test_what_one_lucky_fold_alone_brings_is_no_difference() -> None:
    first, second = right_in(0.8, 0), right_in(0.8, 0)
    second[FOLDS == 0] = TARGETS[FOLDS == 0]
    found = differences([contender(first), contender(second)])[0, 1]
    assert found.p_clips < ALPHA
    assert found.p_folds is not None
    assert found.p_folds > ALPHA
    assert not found.is_real()


def test_few_speakers_are_no_proof() -> None:
    first, second = right_in(0.82, 0), right_in(0.74, 1)
    many = differences([contender(first), contender(second)])[0, 1]
    two = [f"s{row % 2}" for row in range(len(TARGETS))]
    few = differences([contender(first, speakers=two), contender(second, speakers=two)])[0, 1]
    assert few.p_clips > many.p_clips


def test_seeds_are_averaged_draw_by_draw() -> None:
    lucky, unlucky = right_in(0.9, 0), right_in(0.7, 1)
    both = contender(lucky, unlucky)
    alone = [differences([contender(seed), both])[0, 1].score.value for seed in (lucky, unlucky)]
    assert sum(alone) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10).filter(lambda values: np.std(values) > 1e-6))
def test_without_overlap_the_corrected_t_test_is_students(values: list[float]) -> None:
    assert corrected_t(np.array(values), 0.0) == pytest.approx(ttest_1samp(values, 0).pvalue, abs=1e-9)


def test_overlapping_training_sets_make_folds_weaker_witnesses() -> None:
    by_fold = np.array([0.02, 0.03, 0.01, 0.02, 0.025])
    plain, corrected = corrected_t(by_fold, 0.0), corrected_t(by_fold, 0.25)
    assert plain is not None
    assert corrected is not None
    assert plain < corrected


def test_a_single_fold_tells_nothing_of_training() -> None:
    assert corrected_t(np.array([0.1]), 0.25) is None
    assert Difference(Score(value=0.1, low=0.05, high=0.2), 0.001, None).is_real()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_rejects_what_bonferroni_does_and_no_p_above_five_per_cent(p_values: list[float]) -> None:
    rejected = [p < bound for p, bound in zip(p_values, holm(p_values), strict=True)]
    for p, is_rejected in zip(p_values, rejected, strict=True):
        assert is_rejected or p >= ALPHA / len(p_values)
        assert not is_rejected or p < ALPHA
    accepted = [p for p, is_rejected in zip(p_values, rejected, strict=True) if not is_rejected]
    assert all(p <= min(accepted, default=1.0) for p, r in zip(p_values, rejected, strict=True) if r)


def test_holm_by_hand() -> None:
    # 0.01 < 0.05/4, 0.015 < 0.05/3, 0.04 >= 0.05/2: stop.
    assert holm([0.04, 0.01, 0.2, 0.015]) == [0.025, 0.0125, 0.0, pytest.approx(0.05 / 3)]


def pairs(n: int, real: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Difference]:
    score = Score(value=0.1, low=0, high=0.2)
    return {
        (a, b): Difference(score, 1e-9 if (a, b) in real else 0.9, None)
        for a in range(n)
        for b in range(a + 1, n)
    }


@pytest.mark.parametrize(
    ("real", "ranks"),
    [
        ([], [1, 1, 1, 1]),
        ([(0, 3)], [1, 1, 1, 4]),
        ([(0, 2), (0, 3)], [1, 1, 3, 3]),
        ([(0, 1), (0, 2), (0, 3), (1, 3)], [1, 2, 2, 4]),
    ],
)
def test_a_tie_group_ends_where_its_first_can_be_told_apart(
    real: list[tuple[int, int]], ranks: list[int]
) -> None:
    assert tie_groups(range(4), pairs(4, real)) == ranks


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)))
def test_ranks_follow_the_order_asked_for(order: list[int]) -> None:
    ranks = tie_groups(order, pairs(4, [(a, b) for a in range(4) for b in range(a + 1, 4)]))
    assert ranks == [1, 2, 3, 4]


@pytest.mark.parametrize(("only_first", "only_second", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 10, 2 / 1024)])
def test_mcnemars_exact_test(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(p)
