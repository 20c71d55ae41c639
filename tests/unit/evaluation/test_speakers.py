"""Intervals and verdicts know how many speakers stand behind a score."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from fixtures.results import made
from marsbench.config import Criteria
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scoring import new_speaker, percentiles, resample, score_predictions
from marsbench.runner.record import graded


def of_clips(clips: Sequence[tuple[int, int, bool]], n_classes: int = 4) -> Predictions:
    """Predictions of clips, each with its speaker, its class, and whether that is recognised."""
    targets = [target for _, target, _ in clips]
    predicted = [target if right else (target + 1) % n_classes for _, target, right in clips]
    return made(targets, np.eye(n_classes)[predicted], speakers=[f"s{speaker}" for speaker, _, _ in clips])


def held_by(n_speakers: int) -> Predictions:
    """29 speakers, of whom few have the last class, which is recognised of every other one."""
    pairs = [(speaker, c) for speaker in range(29) for c in range(4) if c < 3 or speaker < n_speakers]
    return of_clips([(s, c, s % 2 == 0 or c < 3) for s, c in pairs for _ in range(10)])


def test_the_interval_of_a_class_widens_as_fewer_speakers_have_it() -> None:
    found = [score_predictions(held_by(n)).classes[3] for n in (24, 12, 6, 4, 2)]
    widths = [entry.recall.high - entry.recall.low for entry in found]
    assert [entry.n_speakers for entry in found] == [24, 12, 6, 4, 2]
    assert widths == sorted(widths)
    assert widths[0] < 0.5
    assert widths[-2:] == pytest.approx([1, 1], abs=0.15)


def test_means_over_classes_are_wider_if_one_class_has_few_speakers() -> None:
    generator = np.random.default_rng(3)
    pairs = [(s, c) for s in range(29) for c in range(4) if c < 3 or s < 4]
    predictions = of_clips([(s, c, generator.random() < 0.7) for s, c in pairs for _ in range(10)])
    draws, uar = resample(predictions), METRICS["uar"]
    now = score_predictions(predictions)["uar"]
    of_all = draws.interval(now.value, uar.of)
    assert draws.n_behind(uar) == pytest.approx(4 / (3 / 29 + 1 / 4))
    assert now.low < of_all.low
    assert draws.n_behind(METRICS["accuracy"]) is None


@pytest.mark.parametrize("n_speakers", [10, 24])
@pytest.mark.parametrize("metric", ["macro_f1", "uar"])
def test_where_all_speakers_have_all_classes_intervals_are_expanded_percentiles(
    n_speakers: int, metric: str
) -> None:
    generator = np.random.default_rng(3)
    clips = [(s, c, generator.random() < 0.7) for s in range(n_speakers) for c in range(4) for _ in range(8)]
    predictions = of_clips(clips)
    (way,) = resample(predictions).ways
    score = score_predictions(predictions)[metric]
    assert (score.low, score.high) == percentiles(METRICS[metric].of(way.confusion), n_speakers)


@pytest.mark.parametrize(("n_speakers", "is_known"), [(1, False), (2, False), (3, True), (12, True)])
def test_what_a_new_speaker_will_have_is_told_from_three_speakers_on(n_speakers: int, is_known: bool) -> None:
    rows = range(40)
    predictions = of_clips([(s, row % 4, s % 2 == 0 or row < 24) for s in range(n_speakers) for row in rows])
    found = new_speaker(predictions)
    assert (found is not None) == is_known
    if found is not None:
        accuracies = [1.0 if s % 2 == 0 else 0.6 for s in range(n_speakers)]
        error = float(np.std(accuracies, ddof=1) * np.sqrt(1 + 1 / n_speakers))
        half = stats.t.ppf(0.975, n_speakers - 1) * error
        assert found.value == pytest.approx(np.mean(accuracies))
        assert (found.low, found.high) == pytest.approx((max(0, found.value - half), 1))


def test_speakers_who_are_alike_by_chance_promise_nothing_certain_of_a_new_one() -> None:
    found = new_speaker(of_clips([(s, c, True) for s in range(4) for c in range(4) for _ in range(2)]))
    assert found is not None
    assert found.low < 0.8
    assert found.high == 1


ALL_RIGHT = [(s, c, True) for s in range(12) for c in range(4) for _ in range(5)]
ONE_CLASS_EACH = [(s, s % 4, True) for s in range(25) for _ in range(8)]
ONE_CLASS_EACH += [(s, c, True) for s in range(25, 29) for c in range(4) for _ in range(8)]
Clips = list[tuple[int, int, bool]]


@pytest.mark.parametrize(
    ("clips", "by_speaker", "expected"),
    [
        (ALL_RIGHT, False, "pass"),
        (ALL_RIGHT, True, "pass"),
        (ONE_CLASS_EACH, False, "undecided"),
        (ONE_CLASS_EACH, True, "pass"),
        ([(s, c, False) for s, c, _ in ONE_CLASS_EACH], False, "fail"),
        ([(0, c, True) for _, c, _ in ALL_RIGHT], False, "undecided"),
    ],
)
def test_a_verdict_is_at_most_undecided_where_voices_may_have_been_recognised(
    clips: Clips, by_speaker: bool, expected: str
) -> None:
    found = graded(of_clips(clips), Criteria(), by_speaker, independent_clips=False)
    assert found["verdict"] == expected
    assert bool(found["limits"]) == (found["pass_confidence"] is None)
    assert (found["new_speaker"] is None) == (not by_speaker)


@pytest.mark.parametrize(("independent", "expected"), [(False, "undecided"), (True, "pass")])
def test_clips_of_unknown_speakers_pass_only_if_they_are_declared_independent(
    independent: bool, expected: str
) -> None:
    targets = np.arange(400) % 4
    found = graded(made(targets, np.eye(4)[targets]), Criteria(), False, independent)
    assert found["verdict"] == expected
    assert {grade.outcome for grade in found["grades"]} == {expected}
