import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from marsbench.plugin.keras import import_keras


@pytest.fixture(autouse=True)
def _keras_tuners_own_warnings() -> Iterator[None]:
    """KerasTuner calls functions that Python has deprecated."""
    import_keras()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def declare(hp: Any) -> float:
    """A function of every kind of parameter, highest where all are in the middle and `deep` is chosen."""
    rate = hp.Float("rate", 1e-4, 1e-1, sampling="log")
    width = hp.Int("width", 16, 128, step=2, sampling="log")
    drop = hp.Float("drop", 0.1, 0.5, step=0.2)
    late = hp.Float("late", 1.0, 100.0, sampling="reverse_log")
    hp.Fixed("seed", 7)
    hp.Boolean("bias")
    score: float = -abs(rate - 1e-2) - abs(width - 64) / 64 - abs(drop - 0.3) - abs(late - 50) / 1000
    if hp.Choice("kind", ["flat", "deep"]) == "deep":
        score += 1
    with hp.conditional_scope("kind", ["deep"]):
        layers = hp.Int("layers", 2, 9)
    return score - (abs(layers - 5) / 10 if layers is not None else 0)


def tuner(
    folder: Path,
    trials: int,
    seed: int = 0,
    run: Callable[[Any], float] = declare,
    model: Callable[[Any], float] | None = None,
    **settings: Any,
) -> Any:
    import keras_tuner

    from marsbench.tuning.optuna_oracle import OptunaOracle

    class Search(keras_tuner.Tuner):  # type: ignore[misc]  # keras_tuner has no types
        def run_trial(self, trial: Any, *_: Any, **__: Any) -> dict[str, float]:
            return {"score": run(trial.hyperparameters)}

    oracle = OptunaOracle(keras_tuner.Objective("score", "max"), trials, seed, startup_trials=5, **settings)
    oracle.verbose = 0
    return Search(oracle=oracle, hypermodel=model or run, directory=folder, project_name="project")


def searched(*arguments: Any, **settings: Any) -> list[dict[str, Any]]:
    search = tuner(*arguments, **settings)
    search.search(verbose=0)
    trials = [search.oracle.trials[number] for number in search.oracle.start_order]
    assert {trial.status for trial in trials} == {"COMPLETED"}
    return [trial.hyperparameters.values for trial in trials]


def test_listing_the_module_imports_no_tensorflow() -> None:
    code = "import sys, marsbench.tuning.optuna_oracle; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_values_keep_to_what_was_declared(tmp_path: Path) -> None:
    trials = searched(tmp_path, 30)
    assert len(trials) == 30
    assert all(type(trial["width"]) is int and trial["width"] in (16, 32, 64, 128) for trial in trials)
    assert all(min(abs(trial["drop"] - drop) for drop in (0.1, 0.3, 0.5)) < 1e-9 for trial in trials)
    assert all(1e-4 <= trial["rate"] <= 1e-1 and 1 <= trial["late"] <= 100 for trial in trials)
    assert all(trial["seed"] == 7 and type(trial["bias"]) is bool for trial in trials)
    assert all(("layers" in trial) == (trial["kind"] == "deep") for trial in trials)


def test_it_learns_from_scores(tmp_path: Path) -> None:
    trials = searched(tmp_path, 30)
    assert sum(trial["kind"] == "deep" for trial in trials[15:]) >= 12
    assert max(trial["rate"] for trial in trials[20:]) < 0.06


def test_the_seed_decides_the_proposals(tmp_path: Path) -> None:
    first, again, other = (
        searched(tmp_path / name, 8, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert first != other


def test_a_reloaded_tuner_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(hp: Any) -> float:
        if len(list((tmp_path / "a").glob("project/trial_*"))) == 8:
            raise KeyboardInterrupt
        return declare(hp)

    with pytest.raises(KeyboardInterrupt):
        tuner(tmp_path / "a", 12, run=interrupted).search(verbose=0)
    capsys.readouterr()
    assert searched(tmp_path / "a", 12) == searched(tmp_path / "b", 12)
    assert capsys.readouterr().err == ""


def test_a_trial_that_fails_teaches_nothing_and_ends_nothing(tmp_path: Path) -> None:
    def troubled(hp: Any) -> float:
        score = declare(hp)
        if hp.get("kind") == "deep":
            raise ValueError("no luck today")
        return score

    search = tuner(tmp_path, 12, run=troubled, model=declare, max_consecutive_failed_trials=99)
    search.search(verbose=0)
    statuses = [trial.status for trial in search.oracle.trials.values()]
    assert len(statuses) == 12
    assert set(statuses) == {"COMPLETED", "FAILED"}


def test_an_exhausted_space_ends_the_search(tmp_path: Path) -> None:
    trials = searched(tmp_path, 20, run=lambda hp: float(hp.Choice("only", [1, 2, 3])))
    assert sorted(trial["only"] for trial in trials) == [1, 2, 3]


def test_a_name_that_is_declared_under_two_conditions_has_one_range_under_each(tmp_path: Path) -> None:
    def two(hp: Any) -> float:
        kind = hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["a"]):
            small = hp.Int("size", 1, 8)
        with hp.conditional_scope("kind", ["b"]):
            large = hp.Float("size", 11.0, 18.0)
        return float(small if kind == "a" else large)

    trials = searched(tmp_path, 12, run=two)
    assert {trial["kind"] for trial in trials} == {"a", "b"}
    assert all(11 <= trial["size"] <= 18 for trial in trials if trial["kind"] == "b")
    assert all(1 <= trial["size"] <= 8 for trial in trials if trial["kind"] == "a")
