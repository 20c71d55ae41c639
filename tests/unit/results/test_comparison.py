from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fixtures.results import FOLDS, N_CLIPS, TARGETS, rewrite
from marsbench.errors import ResultsError
from marsbench.results.comparison import compare
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]


def test_two_runs_are_compared_clip_by_clip(predicted_run: Write) -> None:
    found = compare(predicted_run("a", {0, 1}), predicted_run("b", {1, 2, 3, 4}))
    assert found.table == ((235, 3), (1, 1))
    assert found.p_mcnemar == pytest.approx(0.625)
    assert set(found.disagreements["clip"]) == {"clip 0", "clip 2", "clip 3", "clip 4"}
    assert found.difference.score.value > 0


def test_disagreements_name_the_truth_and_both_answers(predicted_run: Write) -> None:
    found = compare(predicted_run("a", {0}), predicted_run("b", {}))
    (row,) = found.disagreements.to_dict("records")
    assert row == {
        "clip": "clip 0",
        "true": "low",
        "first": "high",
        "first_probability": pytest.approx(0.9),
        "second": "low",
        "second_probability": pytest.approx(0.9),
    }


def test_equal_runs_are_right_on_the_same_clips(predicted_run: Write) -> None:
    found = compare(predicted_run("a", {3}), predicted_run("b", {3}))
    assert found.disagreements.empty
    assert (found.difference.score.value, found.difference.p_clips, found.p_mcnemar) == (0, 1, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"clips": tuple(f"other {row}" for row in range(N_CLIPS))},
        {"targets": 1 - TARGETS},
        {"folds": (FOLDS + 1) % 5},
    ],
    ids="".join,
)
def test_predictions_of_other_clips_are_refused(predicted_run: Write, other: dict[str, Any]) -> None:
    first, second = predicted_run("a"), predicted_run("b")
    rewrite(second, lambda predictions: replace(predictions, **other))
    with pytest.raises(ResultsError, match="is not of the same clips as"):
        compare(first, second)


def test_a_run_is_not_compared_with_itself(predicted_run: Write) -> None:
    folder = predicted_run("a")
    with pytest.raises(ResultsError, match="a was named twice"):
        compare(folder, folder)


def test_an_incomplete_run_is_refused(predicted_run: Write, finished_run: Write) -> None:
    with pytest.raises(ResultsError, match="b is not complete"):
        compare(predicted_run("a"), finished_run("b", None))


def test_runs_of_different_boards_are_refused(predicted_run: Write) -> None:
    first = predicted_run("a")
    protocol = first.read_run().protocol.model_copy(update={"hash": "7" * 64})
    with pytest.raises(ResultsError, match="were not tested alike; name runs of one leaderboard"):
        compare(first, predicted_run("b", protocol=protocol))
