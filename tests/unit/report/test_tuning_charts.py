"""The pictures of what tuning tried."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from marsbench.report.tuning_charts import MOST_PARAMETERS, TuningCharts, tuning_charts
from marsbench.results.store import RunFolder
from marsbench.results.studies import Study, Trial, TrialState

Values = Mapping[str, str | int | float | bool]


def trial(number: int, score: float | None, values: Values, state: TrialState = "complete") -> Trial:
    return Trial(
        number=number, state=state, configuration=dict(values), score=score, steps={}, seconds=1.0,
        finished="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


@pytest.fixture
def charts_of(tmp_path: Path) -> Callable[..., TuningCharts | None]:
    """Pictures of a run with these trials in each of two folds."""

    def draw(trials: Sequence[Trial]) -> TuningCharts | None:
        folder = RunFolder(tmp_path)
        for fold in (0, 1):
            facts = {"fold": fold, "tuner": "optuna", "objective": "macro_f1", "inner_folds": 3, "space": ""}
            folder.study.write_study(Study.model_validate(facts | {"trials": trials}))
        return tuning_charts(folder)

    return draw


def classes(svg: str) -> list[set[str]]:
    return [set(element.get("class", "").split()) for element in ET.fromstring(svg).iter()]  # noqa: S314


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]  # noqa: S314


def test_a_run_whose_trials_are_gone_or_all_failed_has_no_picture(
    charts_of: Callable[..., TuningCharts | None], tmp_path: Path
) -> None:
    assert tuning_charts(RunFolder(tmp_path / "none")) is None
    assert charts_of([trial(0, None, {}, "failed")]) is None


def test_every_scored_trial_is_in_the_history_and_each_fold_has_its_best_so_far(
    charts_of: Callable[..., TuningCharts | None],
) -> None:
    found = charts_of([
        trial(0, 0.5, {"m.C": 1.0}), trial(1, 0.7, {"m.C": 2.0}), trial(2, 0.4, {"m.C": 3.0}, "pruned"),
        trial(3, None, {"m.C": 4.0}, "failed"),
    ])  # fmt: skip
    assert found is not None
    marks = classes(found.history)
    assert [sum(kind in mark for mark in marks) for kind in ("trial", "pruned", "fit")] == [4, 2, 2]
    assert "fold 1: 70.0 % by trial 1" in found.history
    assert found.importances == {}


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.0, 2.0, 4.0], ["m.x", "1", "4"]),
        ([0.001, 0.1, 10.0], ["m.x, log", "0.001", "10"]),
        ([0.0, 1.0, 100.0], ["m.x", "0", "100"]),
        (["rbf", "linear", "rbf"], ["m.x", "linear", "rbf"]),
        ([True, False, True], ["m.x", "False", "True"]),
        (["none", 3, 3], ["m.x", "3", "none"]),
        (["<b>", "a", "a"], ["m.x", "<b>", "a"]),
    ],
    ids=repr,
)
def test_a_parameter_has_an_axis_of_numbers_or_of_names(
    values: list[str | float], shown: list[str], charts_of: Callable[..., TuningCharts | None]
) -> None:
    found = charts_of([trial(n, 0.5 + n / 10, {"m.x": value, "m.y": 1}) for n, value in enumerate(values)])
    assert found is not None
    assert found.parallel is not None
    assert [word for word in words(found.parallel) if word in shown][: len(shown)] == shown
    assert "m.y" not in words(found.parallel)
    assert sum("tried" in mark for mark in classes(found.parallel)) == 2 * len(values)


def test_a_trial_without_a_parameter_passes_its_axis(charts_of: Callable[..., TuningCharts | None]) -> None:
    found = charts_of([
        trial(0, 0.5, {"m.x": 1, "m.deep": 1}), trial(1, 0.6, {"m.x": 2}),
        trial(2, 0.7, {"m.x": 2, "m.deep": 3}),
    ])  # fmt: skip
    assert found is not None
    lines = [e for e in ET.fromstring(found.parallel or "").iter() if "tried" in e.get("class", "")]  # noqa: S314
    assert sorted(len(line.get("points", "").split()) for line in lines) == [2, 2, 3, 3, 3, 3]


def test_parameters_beyond_the_most_are_counted(charts_of: Callable[..., TuningCharts | None]) -> None:
    found = charts_of(
        [trial(n, 0.5 + n / 10, {f"m.p{i}": n for i in range(MOST_PARAMETERS + 3)}) for n in range(3)]
    )
    assert found is not None
    assert found.n_left_out == 3


def test_trials_that_differ_in_nothing_have_no_parallel_coordinates(
    charts_of: Callable[..., TuningCharts | None],
) -> None:
    found = charts_of([trial(0, 0.5, {"m.x": 1})])
    assert found is not None
    assert found.parallel is None
