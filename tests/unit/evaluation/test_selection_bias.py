"""Scores of what was chosen for its score, on simulated boards and searches whose truth is known."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr

from fixtures.results import made
from marsbench.config import Objective
from marsbench.evaluation.metrics import METRICS, objective_score
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import ChosenScore, Score
from marsbench.evaluation.scoring import resample
from marsbench.evaluation.selection_bias import bias_of_best, bias_of_chosen

N_CLASSES, N_FOLDS = 8, 5
Values = NDArray[np.float64]
KINDS: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "equal": lambda _, n: np.full(n, 0.8),
    "close": lambda generator, n: generator.normal(0.8, 0.1, n),
    "spread": lambda generator, n: generator.normal(0.8, 0.3, n),
    "half bad": lambda generator, n: np.where(
        np.arange(n) < n // 2, generator.normal(-1, 0.5, n), generator.normal(0.8, 0.1, n)
    ),
    "tail": lambda generator, n: 0.9 - generator.exponential(0.5, n),
}
"""How pipelines differ: the level of each, which its accuracy is the normal distribution of, rescaled."""


class Corpus:
    """Clips and speakers that are easy or hard for all pipelines alike; 0: speakers are not known."""

    def __init__(self, generator: np.random.Generator, n_clips: int, n_speakers: int) -> None:
        self.generator = generator
        speakers = generator.integers(0, n_speakers or 1, n_clips)
        self.spread = 0.5 if n_speakers else 0.0
        self.ease = generator.normal(0, self.spread, n_speakers or 1)[speakers] + generator.normal(
            0, 1, n_clips
        )
        self.targets = generator.integers(0, N_CLASSES, n_clips)
        self.names = [f"s{speaker}" for speaker in speakers] if n_speakers else []

    def truths(self, levels: Values) -> Values:
        """Macro F1 of each level on very many clips; classes are equally easy, so it is the accuracy."""
        return np.asarray(ndtr(levels / sqrt(self.spread**2 + 2)))

    def predictions(
        self, levels: Values, luck: Values | float = 0.0, fresh: float = 1.0
    ) -> list[Predictions]:
        """Of a pipeline for each level: `luck` (n_pipelines, n_clips) it keeps, some is new in each fit."""
        noise = luck + self.generator.normal(0, sqrt(fresh), (len(levels), len(self.targets)))
        right = levels[:, None] + self.ease + noise > 0
        wrong = (self.targets + self.generator.integers(1, N_CLASSES, right.shape)) % N_CLASSES
        chosen = np.where(right, self.targets, wrong)
        return [made(self.targets, np.eye(N_CLASSES)[row], (), self.names) for row in chosen]


def macro_f1(predictions: Predictions) -> float:
    return METRICS["macro_f1"].value(predictions.targets, predictions.probabilities)


def shared_luck(each: list[Predictions], truths: Values) -> float:
    """Luck of all pipelines: it averages out over corpora, and is taken off so that fewer corpora tell."""
    return float(np.mean([one.correct.mean() for one in each]) - truths.mean())


def board(generator: np.random.Generator, kind: str, shape: tuple[int, int, int]) -> tuple[float, ...]:
    """Points by which the best and the corrected score exceed the truth; whether its interval holds it."""
    n_clips, n_pipelines, n_speakers = shape
    corpus, levels = Corpus(generator, n_clips, n_speakers), KINDS[kind](generator, n_pipelines)
    each, truths = corpus.predictions(levels), corpus.truths(levels)
    scores = np.array([macro_f1(one) for one in each])
    best = int(scores.argmax())
    bias = bias_of_best([[one] for one in each])
    excess = float(scores[best] - truths[best] - shared_luck(each, truths))
    measured = resample(each[best]).interval(float(scores[best]), METRICS["macro_f1"].of)
    intervals = measured, ChosenScore.of(measured, bias, n_pipelines, n_clips).corrected
    return 100 * excess, 100 * (excess - bias), *(one.low <= truths[best] <= one.high for one in intervals)


SIZES = pytest.mark.parametrize("n_clips", [100, 300, 1000])
NUMBERS = pytest.mark.parametrize("n_pipelines", [12, 40])


@pytest.mark.slow
@SIZES
@NUMBERS
@pytest.mark.parametrize("n_speakers", [0, 10, 24])
def test_the_corrected_score_of_a_board_s_best_is_within_a_point_of_the_truth_on_average(
    n_clips: int, n_pipelines: int, n_speakers: int
) -> None:
    generator, shape = np.random.default_rng(0), (n_clips, n_pipelines, n_speakers)
    means = {kind: np.mean([board(generator, kind, shape) for _ in range(40)], axis=0) for kind in KINDS}
    for kind, (raw, corrected, *covered) in means.items():
        print(f"\n{shape} {kind} {raw:+.1f} -> {corrected:+.1f}, {covered}", end="")  # noqa: T201 - figures
    _, corrected, _, covered = np.mean([*means.values()], axis=0)
    print(f"\n{shape} all {corrected:+.2f} {covered:.3f}")  # noqa: T201 - as above
    assert abs(corrected) <= 1
    assert max(abs(mean[1]) for mean in means.values()) <= 2
    assert covered >= 0.9


def search(
    generator: np.random.Generator, kind: str, shape: tuple[int, int, int], kept: float
) -> tuple[float, float]:
    """Points by which the winner's score and the corrected one exceed the truth, chosen as a search does.

    A first look inside the first fold leaves a third of the pipelines; the winner is the best of the three
    that are best on hold-outs inside all folds. `kept` of a pipeline's luck with a clip stays in other fits.
    """
    n_clips, n_pipelines, n_speakers = shape
    corpus, levels = Corpus(generator, n_clips, n_speakers), KINDS[kind](generator, n_pipelines)
    luck = generator.normal(0, sqrt(kept), (n_pipelines, n_clips))
    folds = generator.permutation(np.arange(n_clips) % N_FOLDS)
    inner: list[list[Predictions]] = [[] for _ in levels]
    for fold in range(N_FOLDS):
        training = generator.permutation(np.flatnonzero(folds != fold))
        rows = training[: len(training) // N_FOLDS]
        for parts, one in zip(inner, corpus.predictions(levels - 0.1, luck, 1 - kept), strict=True):
            parts.append(one.of_rows(rows))
    each, truths = corpus.predictions(levels, luck, 1 - kept), corpus.truths(levels)
    looked = np.argsort([-macro_f1(parts[0]) for parts in inner])[: max(4, -(-n_pipelines // 3))]
    shortlist = sorted(looked, key=lambda one: -np.mean([macro_f1(part) for part in inner[one]]))
    finalists = {position: each[one] for position, one in enumerate(shortlist[:3])}
    bias = bias_of_chosen([inner[one] for one in shortlist], finalists, 0, "macro_f1")
    winner = shortlist[0]
    excess = macro_f1(each[winner]) - truths[winner] - shared_luck(each, truths)
    return 100 * excess, 100 * (excess - bias)


@pytest.mark.slow
@SIZES
@NUMBERS
@pytest.mark.parametrize(("n_speakers", "kept"), [(24, 0.5), (24, 0.9), (0, 0.9)])
def test_the_corrected_score_of_a_search_s_winner_is_within_about_a_point_of_the_truth_on_average(
    n_clips: int, n_pipelines: int, n_speakers: int, kept: float
) -> None:
    generator, shape = np.random.default_rng(1), (n_clips, n_pipelines, n_speakers)
    means = {
        kind: np.mean([search(generator, kind, shape, kept) for _ in range(60)], axis=0) for kind in KINDS
    }
    figures = "; ".join(f"{kind} {raw:+.1f} -> {corrected:+.1f}" for kind, (raw, corrected) in means.items())
    print(f"\n{shape} {kept}: {figures}")  # noqa: T201 - figures
    corrected = [mean[1] for mean in means.values()]
    assert abs(np.mean(corrected)) <= 1.25  # 1.1 for 100 clips, 40 pipelines: no correction of first looks
    assert np.abs(corrected).max() <= 2


def pipelines(levels: list[float], n_speakers: int = 12, seed: int = 0) -> list[list[Predictions]]:
    corpus = Corpus(np.random.default_rng(seed), 200, n_speakers)
    return [[one] for one in corpus.predictions(np.array(levels))]


@pytest.mark.parametrize("n_speakers", [0, 1, 3, 12])
def test_the_best_of_equal_pipelines_is_taken_to_be_about_as_good_as_the_others(n_speakers: int) -> None:
    each = pipelines([0.8] * 20, n_speakers)
    scores = [macro_f1(one) for (one,) in each]
    assert max(scores) - bias_of_best(each) == pytest.approx(np.mean(scores), abs=0.02)


@pytest.mark.parametrize(
    "each",
    [
        pytest.param(pipelines([0.8]), id="a single pipeline"),
        pytest.param(pipelines([0.8]) * 5, id="the same pipeline several times"),
        pytest.param(pipelines([9.0] * 5), id="pipelines without a mistake"),
        pytest.param(pipelines([3.0, -1.0, -1.1]), id="one far above all others"),
    ],
)
def test_where_no_luck_can_have_chosen_nothing_is_corrected(each: list[list[Predictions]]) -> None:
    assert bias_of_best(each) == pytest.approx(0, abs=0.003)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1, 2), min_size=2, max_size=6), st.sampled_from([0, 2, 12]), st.randoms())
def test_a_bias_is_no_larger_than_the_scores_differ_whatever_their_order(
    levels: list[float], n_speakers: int, random: "np.random.Generator"
) -> None:
    each = pipelines(levels, n_speakers)
    bias = bias_of_best(each)
    assert 0 <= bias <= np.ptp([macro_f1(one) for (one,) in each])
    random.shuffle(each)
    assert bias_of_best(each) == pytest.approx(bias)


def test_rivals_that_share_their_luck_are_not_taken_for_lucky() -> None:
    """One far-off pipeline whose luck is its own must not make near copies look lucky."""
    corpus = Corpus(np.random.default_rng(3), 300, 12)
    luck = np.tile(corpus.generator.normal(0, 1, 300), (6, 1))
    alike = [[one] for one in corpus.predictions(np.full(6, 0.8), luck, 0.01)]
    others = [[one] for one in corpus.predictions(np.array([-1.0, -1.2, -1.5]))]
    assert bias_of_best([*alike, *others]) == pytest.approx(bias_of_best(alike), abs=0.004)


def test_seeds_count_by_their_mean() -> None:
    each = pipelines([0.8] * 6)
    assert bias_of_best([[one, one] for (one,) in each]) == pytest.approx(bias_of_best(each))
    pairs = [[first, second] for (first,), (second,) in zip(each[::2], each[1::2], strict=True)]
    assert bias_of_best(pairs) < bias_of_best(each)


def outer_of(each: list[list[Predictions]]) -> dict[int, Predictions]:
    return {position: one for position, (one,) in enumerate(each)}


@pytest.mark.parametrize("n_speakers", [0, 3, 12])
def test_what_was_chosen_by_its_test_scores_is_corrected_as_the_best_of_a_board(n_speakers: int) -> None:
    each = pipelines([0.8] * 8, n_speakers)
    best = int(np.argmax([macro_f1(one) for (one,) in each]))
    assert bias_of_chosen(each, outer_of(each), best, "macro_f1") == pytest.approx(bias_of_best(each))


@pytest.mark.parametrize("objective", get_args(Objective))
def test_luck_with_other_clips_is_not_in_the_test_scores(objective: str) -> None:
    each = pipelines([0.8] * 8, n_speakers=0)
    others = {
        position: replace(one, clips=tuple(f"other {clip}" for clip in one.clips))
        for position, one in outer_of(each).items()
    }
    assert bias_of_chosen(each, others, 0, objective) == 0
    assert bias_of_chosen(each, outer_of(each), 0, objective) >= 0


@pytest.mark.parametrize("objective", get_args(Objective))
def test_a_choice_by_any_objective_is_corrected(objective: str) -> None:
    each = [[one.with_probabilities(0.6 * one.probabilities + 0.05)] for (one,) in pipelines([0.8] * 8)]
    scores = [objective_score(objective, one.probabilities, one.targets) for (one,) in each]
    bias = bias_of_chosen(each, outer_of(each), int(np.argmax(scores)), objective)
    assert 0.2 * bias_of_best(each) < bias < 2 * bias_of_best(each)


def test_a_finalist_alone_is_corrected_too() -> None:
    each = pipelines([0.8] * 8)
    best = int(np.argmax([macro_f1(one) for (one,) in each]))
    assert 0 < bias_of_chosen(each, {best: each[best][0]}, best, "macro_f1") <= bias_of_best(each)


@pytest.mark.parametrize(
    ("bias", "expected"), [(0.0, (0.5, 0.2, 0.9)), (0.1, (0.4, 0.1, 0.8)), (0.3, (0.2, 0.0, 0.6))]
)
def test_an_interval_moves_with_its_score_and_stays_a_share(
    bias: float, expected: tuple[float, float, float]
) -> None:
    moved = ChosenScore.of(Score(value=0.5, low=0.2, high=0.9), bias, 12, 100).corrected
    assert (moved.value, moved.low, moved.high) == pytest.approx(expected)
