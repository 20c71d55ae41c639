import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from fixtures.results import made
from marsbench.config import Criteria
from marsbench.evaluation.formulas import confusion
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import (
    Grade,
    Outcome,
    Score,
    grade,
    growth_for_pass,
    least_confidence,
    mean_metrics,
    verdict,
)
from marsbench.evaluation.scoring import confidence, confidences, percentiles, resample, score_predictions
from marsbench.report.phrases import power_sentence

N_CLASSES = 4
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def one_hot(classes: list[int]) -> np.ndarray:
    return np.eye(N_CLASSES)[classes]


def predictions(targets: list[int], predicted: list[int], n_speakers: int = 5) -> Predictions:
    rows = np.arange(len(targets))
    return made(targets, one_hot(predicted), rows % 5, [f"s{row % n_speakers}" for row in rows])


@given(PAIRS)
def test_every_score_equals_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, predicted = map(list, zip(*pairs, strict=True))
    ours, there = confusion(np.array(true), one_hot(predicted)), sorted(set(true))
    kept = {"labels": there, "zero_division": 0}
    counts = confusion_matrix(true, predicted, labels=range(N_CLASSES))
    assert np.array_equal(ours.sums, [counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)])
    assert np.isclose(ours.accuracy, accuracy_score(true, predicted), atol=1e-12, rtol=0)
    assert np.allclose(ours.recall[there], recall_score(true, predicted, average=None, **kept), atol=1e-12)
    assert np.allclose(
        ours.precision[there], precision_score(true, predicted, average=None, **kept), atol=1e-12
    )
    assert np.isclose(ours.macro_f1, f1_score(true, predicted, average="macro", **kept), atol=1e-12)
    assert np.isnan(ours.recall[[c for c in range(N_CLASSES) if c not in there]]).all()


def test_uar_is_balanced_accuracy() -> None:
    true, predicted = [0, 0, 0, 1, 2, 3], [0, 0, 1, 1, 2, 0]
    ours = confusion(np.array(true), one_hot(predicted))
    assert np.isclose(ours.uar, balanced_accuracy_score(true, predicted), atol=1e-12)


def test_a_tie_goes_to_the_class_that_comes_first() -> None:
    ours = confusion(np.array([1]), np.full((1, N_CLASSES), 0.25))
    assert np.array_equal(ours.sums, [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])


@settings(max_examples=20, deadline=None)
@given(PAIRS)
def test_an_interval_holds_its_score(pairs: list[tuple[int, int]]) -> None:
    true, predicted = map(list, zip(*pairs, (0, 0), (1, 1), (2, 2), (3, 3), strict=True))
    metrics = score_predictions(predictions(true, predicted))
    pooled = [metrics[name] for name, metric in METRICS.items() if metric.from_confusion]
    for score in (*pooled, *(entry.recall for entry in metrics.classes)):
        assert 0 <= score.low <= score.value <= score.high <= 1


def test_the_same_predictions_have_the_same_interval_every_time() -> None:
    given_predictions = predictions([0, 1, 2, 3] * 20, [0, 1, 2, 0] * 20)
    first = score_predictions(given_predictions)
    assert first == score_predictions(given_predictions)


def test_more_clips_narrow_the_interval() -> None:
    generator = np.random.default_rng(1)
    widths = []
    for n_clips in (60, 600):
        true = generator.integers(0, 4, n_clips)
        predicted = np.where(generator.random(n_clips) < 0.7, true, (true + 1) % 4)
        score = score_predictions(predictions(list(true), list(predicted), n_clips))["accuracy"]
        widths.append(score.high - score.low)
    assert widths[1] < widths[0] / 2


def test_clips_of_one_speaker_are_drawn_together() -> None:
    predicted = np.eye(2)[np.repeat([0, 1], 100)]
    speakers = [f"s{row // 20}" for row in range(200)]
    (by_speaker,) = resample(made([0] * 200, predicted, speakers=speakers)).ways
    (by_clip,) = resample(made([0] * 200, predicted)).ways
    assert by_clip.confusion.accuracy.std() < by_speaker.confusion.accuracy.std() / 2


@pytest.mark.parametrize("speakers", [["s"] * 40, ["s", "t"] * 20])
def test_few_speakers_give_no_false_certainty(speakers: list[str]) -> None:
    predicted = np.eye(2)[np.repeat([0, 1], [30, 10])]
    score = resample(made([0] * 40, predicted, speakers=speakers)).interval(0.75, METRICS["accuracy"].of)
    assert score.low < 0.65
    assert score.high > 0.85


def test_all_right_of_five_clips_is_not_certainty() -> None:
    metrics = score_predictions(predictions([0, 1, 2, 3] * 5, [0, 1, 2, 3] * 5, 20))
    assert metrics.classes[0].recall.value == 1.0
    assert metrics.classes[0].recall.low == pytest.approx(0.566, abs=0.001)  # Wilson (1927) for 5 of 5


@pytest.mark.parametrize("n_speakers", [2, 12, 40])
@pytest.mark.parametrize(
    ("n_clips", "low", "high"),
    [
        # Wilson's ends are z² / (n + z²) from 0 or 1; of four recalls, one is 1 and three are 0
        (40, 0.25 - 0.2775 / 4, 0.25 + 3**0.5 * 0.2775 / 4),
        (400, 0.25 - 0.0370 / 4, 0.25 + 3**0.5 * 0.0370 / 4),
    ],
)
def test_mean_recall_of_clips_that_all_get_one_class_is_not_certain(
    n_clips: int, low: float, high: float, n_speakers: int
) -> None:
    targets, speakers = np.arange(n_clips) % 4, [f"s{row // 4 % n_speakers}" for row in range(n_clips)]
    score = score_predictions(made(targets, one_hot([2] * n_clips), speakers=speakers))["uar"]
    assert (score.value, score.low, score.high) == pytest.approx((0.25, low, high), abs=5e-4)


@pytest.mark.parametrize("name", ["macro_f1", "uar"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_all_right_is_no_certain_mean_over_classes_and_more_clips_make_it_surer(
    name: str, n_classes: int
) -> None:
    given = [
        made(targets, np.eye(n_classes)[targets]) for targets in (np.arange(n) % n_classes for n in (16, 160))
    ]
    few, many = (score_predictions(one)[name] for one in given)
    assert few.high == many.high == 1
    assert few.low < many.low - 0.03 < 0.97


def test_a_class_that_a_draw_or_a_fold_lacks_does_not_count_against_it() -> None:
    targets = [0] * 8 + [1, 2, 3]
    speakers = [f"s{row}" for row in range(8)] + ["s8"] * 3
    given_predictions = made(targets, one_hot(targets), np.arange(11) // 8, speakers)
    metrics = score_predictions(given_predictions)
    assert resample(given_predictions).interval(1.0, METRICS["macro_f1"].of).low == 1.0
    assert [fold.scores["uar"] for fold in metrics.folds] == [1.0, 1.0]


def test_scores_by_fold_are_those_of_its_clips() -> None:
    metrics = score_predictions(predictions([0, 1, 2, 3, 0], [0, 1, 2, 3, 1]))
    assert [fold.scores["accuracy"] for fold in metrics.folds] == [1, 1, 1, 1, 0]
    assert metrics.worst.label == "a"


@pytest.mark.parametrize(
    ("low", "value", "high", "outcome", "reached"),
    [
        (0.81, 0.85, 0.9, "pass", True),
        (0.7, 0.75, 0.79, "fail", False),
        (0.75, 0.85, 0.9, "undecided", True),
        (0.75, 0.78, 0.9, "undecided", False),
        (0.8, 0.8, 0.8, "fail", False),
    ],
)
def test_a_criterion_is_decided_only_by_a_whole_interval(
    low: float, value: float, high: float, outcome: Outcome, reached: bool
) -> None:
    metrics = score_predictions(predictions([0, 1, 2, 3], [0, 1, 2, 3]))
    metrics = metrics.model_copy(update={"accuracy": Score(low=low, value=value, high=high)})
    graded = grade(metrics, Criteria(accuracy=0.8))[0]
    assert (graded.outcome, graded.reached) == (outcome, reached)


@pytest.mark.parametrize(
    ("accuracy", "expected"), [(0.5, "pass"), (1.0, "fail")], ids=["all pass", "one fails"]
)
def test_one_failed_criterion_fails_the_run(accuracy: float, expected: Outcome) -> None:
    metrics = score_predictions(predictions([0, 1, 2, 3] * 50, [0, 1, 2, 3] * 50, 40))
    assert verdict(grade(metrics, Criteria(accuracy=accuracy))) == expected


@pytest.mark.parametrize(("threshold", "expected"), [(0.2, 1.0), (0.999, 0.0)])
def test_what_is_far_from_a_threshold_is_all_but_certain(threshold: float, expected: float) -> None:
    draws = resample(predictions([0, 1, 2, 3] * 50, [0, 1, 2, 0] * 50, 24))
    found = confidences(draws, Criteria(accuracy=threshold), list("abcd"))
    assert found["accuracy"] == pytest.approx(expected, abs=0.01)
    assert found.keys() == {"accuracy", "macro_f1", *(f"class_recall {label}" for label in "abcd")}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32), st.integers(2, 40), st.floats(0.05, 0.95), st.floats(0, 3), st.floats(0.3, 0.95)
)
def test_confidence_and_outcome_are_one_statement_for_every_criterion(
    seed: int, n_speakers: int, share: float, spread: float, threshold: float
) -> None:
    generator = np.random.default_rng(seed)
    targets = np.tile(np.arange(N_CLASSES), 40)
    odds = np.log(share / (1 - share)) + generator.normal(0, spread, n_speakers)
    right = generator.random(160) < 1 / (1 + np.exp(-odds[np.arange(160) % n_speakers]))
    given_predictions = predictions(
        targets.tolist(), np.where(right, targets, (targets + 1) % N_CLASSES).tolist(), n_speakers
    )
    draws = resample(given_predictions)
    criteria = Criteria(accuracy=threshold, macro_f1=threshold, class_recall=threshold)
    found = confidences(draws, criteria, list("abcd"))
    grades = grade(score_predictions(given_predictions, draws), criteria, found)
    for entry in grades:
        raw = found[entry.criterion]
        assert raw is not None
        assert entry.confidence is not None
        if entry.outcome == "pass":
            assert raw > 0.97
            assert entry.confidence >= 0.975
        elif entry.outcome == "fail":
            assert raw < 0.03
            assert entry.confidence <= 0.025
        else:  # Wilson's interval may be wider than the draws alone
            assert 0.025 <= entry.confidence <= 0.975
    least = least_confidence(grades)
    assert least is not None
    assert (least >= 0.975) == (verdict(grades) == "pass") or least == 0.975
    assert (least <= 0.025) == (verdict(grades) == "fail") or least == 0.025


@given(st.integers(8, 200), st.floats(-4, 4))
def test_confidence_is_the_inverse_of_the_expanded_percentiles(n_clusters: int, shift: float) -> None:
    drawn = np.random.default_rng(0).normal(size=4001) + shift
    low, high = percentiles(drawn, n_clusters)
    assert (confidence(drawn, low, n_clusters) or 0) <= 0.978
    assert (confidence(drawn, low - 1e-9, n_clusters) or 0) >= 0.972
    assert (confidence(drawn, high, n_clusters) or 0) <= 0.028
    assert confidence(drawn, shift, n_clusters) == pytest.approx(0.5, abs=0.05)


def test_confidence_falls_as_the_threshold_rises() -> None:
    drawn = np.random.default_rng(0).normal(size=2000)
    found = [confidence(drawn, threshold, 10) or 0.0 for threshold in np.linspace(-4, 4, 50)]
    assert found == sorted(found, reverse=True)


def test_draws_without_a_class_say_nothing_of_it() -> None:
    drawn = np.array([np.nan, 0.9, 0.9, 0.1])
    assert confidence(drawn, 0.5, 1) == pytest.approx(2 / 3)
    assert confidence(np.full(4, np.nan), 0.5, 10) is None


@pytest.mark.parametrize(
    ("outcome", "raw", "shown"),
    [
        ("undecided", 1.0, 0.975), ("undecided", 0.0, 0.025), ("undecided", 0.6, 0.6),
        ("pass", 0.9, 0.975), ("pass", 0.99, 0.99), ("fail", 0.3, 0.025), ("fail", 0.001, 0.001),
    ],
)  # fmt: skip
def test_a_record_of_any_age_never_contradicts_its_outcome(
    outcome: Outcome, raw: float, shown: float
) -> None:
    score = Score(value=0.8, low=0.7, high=0.9)
    record = {"criterion": "accuracy", "threshold": 0.8, "score": score, "reached": False, "outcome": outcome}
    for name in ("confidence", "probability"):
        assert Grade.model_validate({**record, name: raw}).confidence == shown
    assert Grade.model_validate(record).confidence is None


def test_grades_carry_the_confidence_of_their_criterion() -> None:
    metrics = score_predictions(predictions([0, 1, 2, 3] * 9, [0, 1, 2, 0] * 9))
    graded = {entry.criterion: entry.confidence for entry in grade(metrics, Criteria(), {"accuracy": 0.7})}
    assert (graded["accuracy"], graded["macro_f1"]) == (0.7, None)


def test_means_over_seeds_are_those_of_values_and_of_interval_ends() -> None:
    first = score_predictions(predictions([0, 1, 2, 3] * 9, [0, 1, 2, 3] * 9))
    second = score_predictions(predictions([0, 1, 2, 3] * 9, [0, 1, 2, 0] * 9))
    both = mean_metrics([first, second])
    assert both["accuracy"].value == pytest.approx((1 + 0.75) / 2)
    assert both["accuracy"].low == pytest.approx((first["accuracy"].low + second["accuracy"].low) / 2)
    assert both.classes[3].recall.value == pytest.approx(0.5)
    assert sum(map(sum, both.confusion)) == 72
    assert both.value("log_loss") == pytest.approx(
        ((first.value("log_loss") or 0) + (second.value("log_loss") or 0)) / 2
    )


@pytest.mark.parametrize(("n_speakers", "wider"), [(10, 1.217), (24, 1.078), (2000, 1.001)])
def test_few_speakers_expand_the_percentiles(n_speakers: int, wider: float) -> None:
    drawn = np.random.default_rng(0).normal(size=200_000)
    low, high = percentiles(drawn, n_speakers)
    # Student's quantile over the normal one, times the root of n / (n - 1).
    assert (high - low) / (2 * 1.96) == pytest.approx(wider, abs=0.02)


def graded(*intervals: tuple[float, float, float], threshold: float = 0.8) -> list[Grade]:
    metrics = score_predictions(predictions([0, 1, 2, 3] * 5, [0, 1, 2, 3] * 5))
    entries = []
    for low, value, high in intervals:
        score = Score(low=low, value=value, high=high)
        changed = metrics.model_copy(update={"accuracy": score})
        entries.append(grade(changed, Criteria(accuracy=threshold))[0])
    return entries


@pytest.mark.parametrize(
    ("intervals", "growth"),
    [
        ([(0.76, 0.82, 0.88)], 9.0),
        ([(0.76, 0.84, 0.92)], 4.0),
        ([(0.76, 0.84, 0.92), (0.76, 0.82, 0.88), (0.85, 0.9, 0.95)], 9.0),
        ([(0.81, 0.84, 0.92)], None),
        ([(0.76, 0.79, 0.88), (0.76, 0.84, 0.92)], None),
        ([(0.7, 0.75, 0.79)], None),
        ([(0.7, 0.8, 0.9)], None),
    ],
)
def test_a_pass_takes_more_speakers_only_where_every_score_is_above_its_threshold(
    intervals: list[tuple[float, float, float]], growth: float | None
) -> None:
    found = growth_for_pass(graded(*intervals))
    assert found == (None if growth is None else pytest.approx(growth))


@pytest.mark.parametrize(
    ("interval", "n_speakers", "sentence"),
    [
        ((0.76, 0.82, 0.88), 24, "about 200 more speakers (24 now)."),
        ((0.79, 0.83, 0.88), 24, "about 19 more speakers (24 now)."),
        ((0.7999, 0.83, 0.88), 4, "about 1 more speaker (4 now)."),
        ((0.76, 0.84, 0.92), 0, "about 60 more clips (20 now)."),
        ((0.76, 0.84, 0.92), None, "about 4.0 times as many speakers or clips."),
        ((0.7, 0.81, 0.9), 24, "more than 10 times as many speakers (24 now)."),
        ((0.7, 0.81, 0.9), 0, "more than 10 times as many clips (20 now)."),
        ((0.81, 0.9, 0.95), 24, ""),
        ((0.7, 0.75, 0.9), 24, ""),
    ],
)  # fmt: skip
def test_how_many_more_speakers_a_pass_would_take_is_told(
    interval: tuple[float, float, float], n_speakers: int | None, sentence: str
) -> None:
    metrics = score_predictions(predictions([0, 1, 2, 3] * 5, [0, 1, 2, 3] * 5))
    start = "A pass at these scores would take " if sentence else ""
    assert power_sentence(graded(interval), metrics, n_speakers) == start + sentence


def test_as_many_more_speakers_as_are_told_do_make_a_pass() -> None:
    generator = np.random.default_rng(6)
    n_speakers, n_takes = 12, 32
    targets = np.tile(np.arange(N_CLASSES), n_speakers * n_takes // N_CLASSES)
    odds = 1 / (1 + np.exp(-generator.normal(1.9, 0.6, n_speakers)))
    speaker_of = np.arange(len(targets)) // N_CLASSES % n_speakers
    right = generator.random(len(targets)) < odds[speaker_of]
    predicted = np.where(right, targets, (targets + 1) % N_CLASSES)

    def grades(copies: int) -> list[Grade]:
        """Of a corpus with so many speakers like each of these."""
        speakers = [f"s{speaker} {copy}" for copy in range(copies) for speaker in speaker_of]
        found = made(np.tile(targets, copies), one_hot(np.tile(predicted, copies).tolist()), (), speakers)
        return grade(score_predictions(found), Criteria(accuracy=0.8, macro_f1=0.8, class_recall=0.7))

    growth = growth_for_pass(grades(1))
    assert growth is not None
    assert 1.5 < growth < 11
    assert verdict(grades(max(1, int(0.7 * growth)))) == "undecided"
    assert verdict(grades(int(1.3 * growth) + 1)) == "pass"


def test_five_hundred_classes_are_scored_in_little_memory() -> None:
    """A resampled corpus in full has a quarter of a million cells, and there are 2,000 of them."""
    generator, n_classes, n_clips = np.random.default_rng(0), 500, 4000
    targets, predicted = generator.integers(0, n_classes, (2, n_clips))
    probabilities = np.eye(n_classes, dtype=np.float32)[predicted]
    labels = [f"class {number}" for number in range(n_classes)]
    many = made(targets, probabilities, np.arange(n_clips) % 5, labels=labels)
    tracemalloc.start()
    score_predictions(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
