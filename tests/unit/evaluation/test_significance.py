from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from fixtures.results import made
from marsbench.evaluation.metrics import objective_score
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Score
from marsbench.evaluation.significance import (
    ALPHA,
    Difference,
    Pair,
    compact_letters,
    corrected_t,
    differences,
    holm,
    mcnemar,
    separated,
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


@pytest.mark.parametrize("share", [0.55, 0.7, 0.76, 0.79, 0.8, 0.83])
def test_folds_confirm_a_mean_difference_from_the_size_on_that_is_told(share: float) -> None:
    first, second = right_in(0.8, 0), right_in(share, 5)
    found = differences([contender(first), contender(second)])[0, 1]
    assert found.shown_by_folds is not None
    assert found.p_folds is not None
    by_fold = [
        objective_score("macro_f1", np.eye(N_CLASSES)[one][fold == FOLDS], TARGETS[fold == FOLDS])
        for fold in range(N_FOLDS)
        for one in (first, second)
    ]
    mean = float(np.mean(by_fold[::2]) - np.mean(by_fold[1::2]))
    assert (found.p_folds < ALPHA) == (abs(mean) > found.shown_by_folds)


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
    assert corrected_t(np.array(values), 0.0)[0] == pytest.approx(ttest_1samp(values, 0).pvalue, abs=1e-9)


def test_overlapping_training_sets_make_folds_weaker_witnesses() -> None:
    by_fold = np.array([0.02, 0.03, 0.01, 0.02, 0.025])
    (plain, shown), (corrected, shown_at_most) = corrected_t(by_fold, 0.0), corrected_t(by_fold, 0.25)
    assert plain is not None
    assert corrected is not None
    assert plain < corrected
    assert (shown or 0) < (shown_at_most or 0)


def test_a_single_fold_tells_nothing_of_training() -> None:
    assert corrected_t(np.array([0.1]), 0.25) == (None, None)
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


def test_pairs_that_folds_cannot_confirm_are_told_from_those_that_differ() -> None:
    score = Score(value=0.1, low=0.0, high=0.2)
    found = {
        (0, 1): Difference(score, 1e-9, 0.001, 0.05),
        (0, 2): Difference(score, 1e-9, 0.2, 0.15),
        (1, 2): Difference(score, 0.5, 0.001, 0.05),
        (0, 3): Difference(score, 1e-9, None),
    }
    assert separated(found) == ({(0, 1), (0, 3)}, {(0, 2)})


def shared(letters: Sequence[Sequence[str]]) -> set[Pair]:
    return {
        (a, b) for a, b in combinations(range(len(letters)), 2) if not set(letters[a]).isdisjoint(letters[b])
    }


@pytest.mark.parametrize(
    ("different", "letters"),
    [
        ([], ["a", "a", "a", "a"]),
        ([(0, 3)], ["a", "ab", "ab", "b"]),
        ([(0, 2), (0, 3)], ["a", "ab", "b", "b"]),
        ([(0, 1), (0, 2), (0, 3), (1, 3)], ["a", "b", "bc", "c"]),
        ([(0, 2), (0, 3), (1, 3)], ["a", "ab", "bc", "c"]),
        ([(1, 2)], ["ab", "a", "b", "ab"]),
        ([(0, 1)], ["a", "b", "ab", "ab"]),
    ],
)
def test_letters_by_hand(different: list[Pair], letters: list[str]) -> None:
    assert ["".join(own) for own in compact_letters(4, set(different))] == letters


@st.composite
def relations(draw: st.DrawFn) -> tuple[int, set[Pair]]:
    """How many contenders, and which pairs of them differ: any relation, few to nearly all pairs."""
    n = draw(st.integers(1, 12))
    every = list(combinations(range(n), 2))
    return n, set(draw(st.lists(st.sampled_from(every), unique=True))) if every else set()


@given(relations())
def test_two_share_a_letter_if_and_only_if_they_do_not_differ(relation: tuple[int, set[Pair]]) -> None:
    n, different = relation
    letters = compact_letters(n, different)
    assert all(letters)
    assert shared(letters) == set(combinations(range(n), 2)) - different


@given(relations())
def test_no_letter_can_be_left_out(relation: tuple[int, set[Pair]]) -> None:
    n, different = relation
    letters = compact_letters(n, different)
    for letter in {letter for own in letters for letter in own}:
        fewer = [[other for other in own if other != letter] for own in letters]
        assert not all(fewer) or shared(fewer) != shared(letters)


@given(relations(), st.randoms(use_true_random=False))
def test_letters_say_the_same_in_any_order(relation: tuple[int, set[Pair]], random: Any) -> None:
    n, different = relation
    order = random.sample(range(n), n)
    moved = {(min(pair), max(pair)) for pair in ((order[a], order[b]) for a, b in different)}
    again = compact_letters(n, moved)
    assert shared([again[order[one]] for one in range(n)]) == shared(compact_letters(n, different))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 0.5))
def test_differences_that_follow_the_scores_need_at_most_a_letter_for_each_row(
    scores: list[float], least: float
) -> None:
    ordered = sorted(scores, reverse=True)
    different = {(a, b) for a, b in combinations(range(len(scores)), 2) if ordered[a] - ordered[b] > least}
    letters = compact_letters(len(scores), different)
    starts = [max(own) for own in letters]
    assert len({letter for own in letters for letter in own}) <= len(scores)
    assert shared(letters) == set(combinations(range(len(scores)), 2)) - different
    assert starts[0] == "a"


def test_more_letters_than_the_alphabet_stay_distinct() -> None:
    # Each of one half is level with each of the other half, and with nothing else: 36 pairs, a letter each.
    different = {(a, b) for a, b in combinations(range(12), 2) if (a < 6) == (b < 6)}
    letters = compact_letters(12, different)
    assert len({letter for own in letters for letter in own}) == 36
    assert shared(letters) == set(combinations(range(12), 2)) - different


@pytest.mark.parametrize(("only_first", "only_second", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 10, 2 / 1024)])
def test_mcnemars_exact_test(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(p)
