"""What tuning finds is taken only where it is clearly better than the untuned configuration."""

from collections.abc import Callable, Sequence
from math import inf, sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.results import made
from marsbench.data.corpus import Clip
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.progress import Silent
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_runs
from marsbench.results.studies import WAITS, Study, Trial
from marsbench.tuning.tuned_or_untuned import Gain, decide, paired_gain

Tune = Callable[..., tuple[RunFolder, Run]]
Fits = Callable[[], list[dict[str, Any]]]
Wrong = dict[int, int | range]
CLIPS = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=3, max_size=40)
"""Class of each clip, and the answers of two models."""


def answering(targets: Sequence[int], answers: Sequence[int], sure: float = 0.8) -> Predictions:
    """Predictions of three classes, each answer with that probability."""
    rows = np.full((len(targets), 3), (1 - sure) / 2)
    rows[np.arange(len(targets)), list(answers)] = sure
    return made(targets, rows)


@pytest.mark.parametrize("objective", ["accuracy", "uar"])
@given(clips=CLIPS)
def test_the_gain_in_correct_clips_is_the_difference_of_the_objective(
    objective: str, clips: list[tuple[int, int, int]]
) -> None:
    targets, first, second = map(list, zip(*clips, strict=True))
    pair = answering(targets, first), answering(targets, second)
    gain = paired_gain(*pair, objective, np.arange(len(targets)))
    values = [METRICS[objective].value(one.targets, one.probabilities) for one in pair]
    assert gain.mean == pytest.approx(values[0] - values[1], abs=1e-9)


@given(clips=CLIPS)
def test_the_gain_in_log_loss_is_its_difference_and_the_other_way_round_it_is_the_opposite(
    clips: list[tuple[int, int, int]],
) -> None:
    targets, first, second = map(list, zip(*clips, strict=True))
    pair = answering(targets, first), answering(targets, second, sure=0.6)
    gain = paired_gain(*pair, "log_loss", np.arange(len(targets)))
    values = [METRICS["log_loss"].value(one.targets, one.probabilities) for one in pair]
    assert gain.mean == pytest.approx(values[1] - values[0], abs=1e-9)
    back = paired_gain(pair[1], pair[0], "log_loss", np.arange(len(targets)))
    assert (back.mean, back.error) == pytest.approx((-gain.mean, gain.error))


def test_the_standard_error_is_that_of_a_mean_of_paired_differences() -> None:
    targets = [0] * 100
    gain = paired_gain(
        answering(targets, targets), answering(targets, [1] * 10 + [0] * 90), "accuracy", np.arange(100)
    )
    assert gain == pytest.approx((0.1, sqrt(0.1 * 0.9 / 99), 100))


def test_clips_of_one_group_are_no_independent_evidence() -> None:
    targets, groups = [0] * 100, np.arange(100) % 4
    better, worse = answering(targets, targets), answering(targets, (groups == 0).astype(int).tolist())
    by_clip = paired_gain(better, worse, "accuracy", np.arange(100))
    by_group = paired_gain(better, worse, "accuracy", groups)
    assert by_clip.mean == by_group.mean == 0.25
    assert by_group.error == pytest.approx(0.25)  # of 1, 0, 0, 0
    assert by_group.error > 5 * by_clip.error


def test_a_single_group_cannot_tell() -> None:
    pair = [answering([0] * 9, [answer] * 9) for answer in (0, 1)]
    assert paired_gain(pair[0], pair[1], "accuracy", np.zeros(9, int)) == (1.0, inf, 1)
    assert not paired_gain(pair[0], pair[1], "accuracy", np.zeros(9, int)).is_real
    assert paired_gain(pair[0], pair[1], "accuracy", np.arange(9)).is_real


@pytest.mark.parametrize(
    ("mean", "error", "is_real"),
    [(0.02, 0.02, True), (0.02, 0.03, False), (0.0, 0.0, False), (-0.1, 0.01, False), (0.01, 0.0, True)],
)
def test_a_gain_is_real_from_one_standard_error_above_nothing_on(
    mean: float, error: float, is_real: bool
) -> None:
    assert Gain(mean, error, 50).is_real == is_real


@pytest.mark.parametrize(
    ("mean", "error", "n_groups", "is_clear"),
    [
        (0.1, 0.04, 100, True),
        (0.1, 0.06, 100, False),
        (0.1, 0.04, 3, False),
        (0.5, 0.0, 2, True),
        (0.0, 0.0, 9, False),
        (-0.1, 0.01, 99, False),
        (0.1, inf, 1, False),
    ],
)
def test_a_gain_is_clear_if_its_interval_by_the_groups_is_above_0(
    mean: float, error: float, n_groups: int, is_clear: bool
) -> None:
    assert Gain(mean, error, n_groups).is_clear == is_clear


def trial(number: int, score: float | None, state: str = "complete") -> Trial:
    about: Any = {"state": state, "steps": {}, "seconds": 0.0, "finished": "", "reason": "no luck"}
    return Trial(number=number, configuration={"tiny.x": number}, score=score, **about)


def study_of(*trials: Trial) -> Study:
    about: Any = {
        "tuner": "optuna",
        "objective": "accuracy",
        "inner_folds": 1,
        "space": "",
        "ended": "all trials",
    }
    return Study(fold=1, trials=list(trials), **about)


def decided(
    study: Study, wrong: dict[int, int | range], together: tuple[str, ...] = ()
) -> tuple[int | None, str]:
    """Trial that is taken, where trial K has `wrong[K]` of 100 clips wrong, the first ones if it is a number.

    A fit without an entry fails. Ten clips after one another are of one speaker and statement, in two takes.
    """

    def fit_all(configuration: dict[str, int]) -> Any:
        n_wrong = wrong.get(configuration["tiny.x"])
        if n_wrong is None:
            return Failure(fold=1, kind="E", message="gone", traceback="")
        misses = range(n_wrong) if isinstance(n_wrong, int) else n_wrong
        return answering([0] * 100, [int(row in misses) for row in range(100)])

    about = [(f"s{row // 10}", {"statement": str(row // 5), "take": str(row % 5)}) for row in range(100)]
    clips = [Clip(str(row), Path(), "a", *entry) for row, entry in enumerate(about)]
    corpus = cast("Any", SimpleNamespace(clips=clips, groups={}, recordings=np.arange(100)))
    fits = SimpleNamespace(fit_all=fit_all, predictions=lambda results, _: results, rows=np.arange(100))
    taken, told = decide(study, cast("Any", fits), corpus, together)
    return taken.taken, told


@pytest.mark.parametrize(
    ("n_wrong", "taken", "told"),
    [
        (10, 1, ""),
        (19, 1, ""),
        (20, 0, " (trial 1 is not better by a standard error: +0.0 points"),
    ],
)
def test_a_trial_has_to_beat_the_untuned_configuration_on_the_same_clips(
    n_wrong: int, taken: int, told: str
) -> None:
    found = decided(study_of(trial(0, 0.7), trial(1, 0.8), trial(2, 0.75)), {0: 20, 1: n_wrong, 2: 0})
    assert found[0] == taken
    assert found[1].startswith(told)
    assert bool(found[1]) == bool(told)


@pytest.mark.parametrize(
    ("together", "taken"),
    [((), 1), (("speaker",), 0), (("speaker", "statement"), 1), (("speaker", "statement", "take"), 1)],
)
def test_evidence_is_counted_in_what_the_splits_keep_together(together: tuple[str, ...], taken: int) -> None:
    """The ten clips that the trial gains are of two statements of one speaker; it loses a clip of another."""
    wrong: Wrong = {0: range(10, 20), 1: range(40, 41)}
    found = decided(study_of(trial(0, 0.7), trial(1, 0.8)), wrong, together)
    assert found[0] == taken


def test_the_best_of_equals_is_the_untuned_configuration() -> None:
    assert decided(study_of(trial(0, 0.8), trial(1, 0.8)), {}) == (0, "")


def test_where_the_untuned_configuration_fails_there_is_nothing_to_beat() -> None:
    found = decided(study_of(trial(0, None, "failed"), trial(1, 0.8)), {})
    assert found == (1, "fold 2: trial 1 is taken; trial 0 failed (no luck)")


def test_where_no_trial_is_complete_the_untuned_configuration_is_taken() -> None:
    study = study_of(trial(0, None, "failed"), trial(1, 0.3, "pruned"))
    assert decided(study, {})[1].startswith("fold 2: no trial is complete (no luck); the untuned")
    assert study.chosen is None


def test_where_no_trial_came_as_far_as_the_untuned_configuration_it_is_taken() -> None:
    waiting = trial(0, 0.7, "pruned").model_copy(update={"reason": WAITS})
    assert decided(study_of(waiting, trial(1, 0.3, "pruned")), {}) == (0, "")


def test_a_fit_that_cannot_be_made_again_decides_nothing() -> None:
    assert decided(study_of(trial(0, 0.7), trial(1, 0.8)), {0: 20})[0] == 0


def test_a_study_before_this_rule_took_its_best() -> None:
    study = study_of(trial(0, 0.7), trial(1, 0.8))
    assert study.chosen is study.best
    assert study.model_copy(update={"taken": 0}).chosen is study.trials[0]


@pytest.mark.parametrize("objective", ["macro_f1", "log_loss"])
def test_where_the_default_is_best_the_tuned_run_is_the_untuned_one_which_is_said_once(
    tuned: Tune, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, line: said.append(line))
    folder, done = tuned(knobs={"widest": 0.3}, trials=6, objective=objective)
    assert done.tuning is not None
    assert done.tuning.untuned_folds == [1, 2, 3, 4, 5]
    assert all(fold.inner_score == fold.untuned_score for fold in done.tuning.folds)
    (untuned,) = (other for other in find_runs(Path("results")) if other.path != folder.path)
    assert folder.predictions.read_bytes() == untuned.predictions.read_bytes()
    lines = [line.partition(": ")[2] for line in said if "nothing better" in line]
    assert lines == ["tuning found nothing better on folds 1, 2, 3, 4, 5"]


def test_a_fold_keeps_the_score_of_what_it_did_not_take(tuned: Tune) -> None:
    _, done = tuned()
    assert done.tuning is not None
    for fold in done.tuning.folds:
        assert fold.best
        assert fold.untuned_score is not None
        assert fold.inner_score is not None
        assert fold.untuned_score < fold.inner_score


def test_log_loss_is_tuned_by_fits_that_are_no_drafts(tuned: Tune, fits: Fits) -> None:
    knobs = {"log": "fits.log"}
    tuned(knobs=knobs, trials=3, protocol="holdout80")
    n_drafts = sum(fit["draft"] for fit in fits())
    assert n_drafts
    folder, done = tuned(knobs=knobs, trials=3, protocol="holdout80", objective="log_loss")
    assert sum(fit["draft"] for fit in fits()) == n_drafts
    (study,) = folder.study.studies()
    assert all(0 < (one.score or 0) <= 1 for one in study.trials if one.state == "complete")
    assert done.tuning is not None
    assert done.metrics is not None
    assert done.tuning.folds[0].outer_score == pytest.approx(np.exp(-(done.metrics.value("log_loss") or 0.0)))
