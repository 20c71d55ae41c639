import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.atomic_files import write_checksummed
from marsbench.config import Tuning
from marsbench.errors import ConfigError
from marsbench.evaluation.fit import Unit, fit_and_predict, fit_version
from marsbench.evaluation.fit_result import UnitResult
from marsbench.features.feature_file import FeatureFile
from marsbench.hashing import digest
from marsbench.plugin.keras import has_gpu
from marsbench.plugin.registry import Recipe, discover
from marsbench.results.studies import StudyFolder, Trial
from marsbench.tuning import cached_fits
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.engines import StudyRequest
from marsbench.tuning.keras_tuner_engine import KerasTunerStudy
from marsbench.tuning.search_space import SearchSpace

N_CLIPS = 36
TARGETS = tuple(row % 3 for row in range(N_CLIPS))
Make = Callable[..., KerasTunerStudy]


def feature_file(folder: Path) -> FeatureFile:
    """Three classes at three corners, in some noise."""
    noise = np.random.default_rng(0).normal(size=(N_CLIPS, 3))
    values = (2 * np.eye(3)[list(TARGETS)] + noise).astype("<f4")
    path = folder / "vectors-0" / "corners.f32"
    path.parent.mkdir()
    values.tofile(path)
    lengths = f'"lengths": {[1] * N_CLIPS}, "seconds": {[0.0] * N_CLIPS}'
    write_checksummed(
        path.with_suffix(".json"),
        f'{{"kind": "vector", "n_dims": 3, "n_frames": 1, "sha256": "", {lengths}}}',
    )
    return FeatureFile(path)


def _unused(*_: object) -> Any:
    """In place of what only the driver calls."""
    raise AssertionError


def changed(study: KerasTunerStudy, **changes: Any) -> KerasTunerStudy:
    """The study of another request."""
    return KerasTunerStudy(replace(study.request, **changes))


@pytest.fixture
def make(kit: Path, tmp_path: Path) -> Make:
    """A study of two inner folds; `parameters` are the network's."""
    features = feature_file(tmp_path)

    def made(
        trials: int = 8,
        by_hand: dict[str, Any] | None = None,
        seed: int = 0,
        folder: Path = kit,
        model: str = "tiny_net",
        **parameters: Any,
    ) -> KerasTunerStudy:
        entry = discover((folder,)).get("models", model)
        units = []
        for fold in range(2):
            test = np.arange(fold, N_CLIPS, 2)
            train = np.setdiff1d(np.arange(N_CLIPS), test)
            targets = np.array([TARGETS[row] for row in train])
            recipe = entry.recipe_of(entry.plugin.create(parameters))
            units.append(
                Unit(
                    fold=0,
                    features=features,
                    model=recipe,
                    hyperparameters=by_hand or {},
                    folders=(folder,),
                    n_classes=3,
                    train=train,
                    train_targets=targets,
                    train_groups=train,
                    validation=train[:0],
                    validation_targets=targets[:0],
                    test=test,
                    seed=7,
                    version=fit_version(),
                )
            )
        fits = CachedFits(
            name="tiny",
            fold=0,
            units=tuple(units),
            recipe=Recipe("corners", {}, "", {}),
            key=digest([units[0].model.key, by_hand, seed]),
            folder=StudyFolder(tmp_path / "study"),
            others=(),
            features_by=_unused,
            submit=_unused,
            say=_unused,
        )
        request = StudyRequest(
            tuning=Tuning(
                trials=trials, tuner="keras-tuner", objective="accuracy", inner_folds=2, time_budget=None
            ),
            space=SearchSpace(()),
            fits=fits,
            targets=[np.array([TARGETS[row] for row in unit.test]) for unit in units],
            rungs=(parameters.get("epochs", 4),),
            seed=seed,
            pinned=frozenset({"batch_size", "augment"}),
            is_late=_unused,
            deadline=None,
            workers_see_folder=True,
            keep=_unused,
        )
        return KerasTunerStudy.of(request)

    return made


class Climbs:
    """In place of `fit_and_predict`: takes no time, scores at random by configuration, and counts.

    What it goes on from must be its own. The fit of the number `interrupted` is interrupted.
    """

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.interrupted: int | None = None
        self.fit: Callable[[Unit], Any] = self.pretend

    def __call__(self, unit: Unit, _on_epoch: object) -> Any:
        self.units.append(unit)
        if len(self.units) == self.interrupted:
            raise KeyboardInterrupt
        return self.fit(unit)

    def pretend(self, unit: Unit) -> Any:
        mine = digest([unit.proposed, unit.test.tolist()])
        assert unit.checkpoint in (None, mine.encode())
        guesses = np.random.default_rng(int(mine[:8], 16)).integers(3, size=len(unit.test))
        result = UnitResult(
            fold=unit.fold,
            probabilities=np.eye(3, dtype=np.float32)[guesses],
            hyperparameters=unit.proposed,
            n_parameters=None,
            history=[],
            warnings=[],
            finished="",
            environment={},
            fit_seconds=0.25,
            predict_seconds=0.5,
        )
        return result, mine.encode()


@pytest.fixture
def climbs(monkeypatch: pytest.MonkeyPatch) -> Climbs:
    counted = Climbs()
    monkeypatch.setattr(cached_fits, "fit_and_predict", counted)
    return counted


def timeless(trials: tuple[Trial, ...]) -> list[Trial]:
    return [trial.model_copy(update={"seconds": 0.0, "finished": ""}) for trial in trials]


def ignore(*_: object) -> None:
    """Whoever is told of progress."""


def test_importing_the_module_imports_no_tensorflow() -> None:
    code = "import sys, marsbench.tuning.keras_tuner_engine; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_a_study_can_be_sent_to_another_process(make: Make) -> None:
    study = make()
    again = pickle.loads(pickle.dumps(study))  # noqa: S301 - its own
    sent, known = again.request.fits, study.request.fits
    assert replace(sent, units=()) == replace(known, units=())
    assert len(sent.units) == len(known.units)
    for one, other in zip(sent.units, known.units, strict=True):
        for field in fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    assert again.request.tuning == study.request.tuning


def test_configurations_that_do_well_go_on_and_the_untuned_one_comes_first(
    make: Make, climbs: Climbs, capfd: pytest.CaptureFixture[str]
) -> None:
    climbs.fit = fit_and_predict
    told: list[tuple[int, int]] = []
    has_gpu()  # TensorFlow's C++ says once in a process that it finds none
    capfd.readouterr()
    trials = make()(lambda done, of, _metrics: told.append((done, of)))
    assert capfd.readouterr() == ("", "")
    assert told == [(number, 8) for number in range(1, 9)]
    assert [trial.number for trial in trials] == list(range(8))
    untuned = {"tiny_net.rate": 0.1, "tiny_net.decays": False, "tiny_net.class_weights": False}
    assert trials[0].configuration.items() >= untuned.items()
    assert trials[0].state == "complete"
    assert trials[0].steps == {4: trials[0].score}
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned
    assert {trial.reason for trial in pruned} == {"stopped after 2 of 4 epochs"}
    assert all(trial.steps == {2: trial.score} for trial in pruned)
    gone_on = [unit for unit in climbs.units if unit.checkpoint is not None]
    assert {unit.until for unit in gone_on} == {None}
    by_configuration = {str(trial.configuration): trial for trial in pruned}
    chosen = [by_configuration[str(t.configuration)] for t in trials[1:] if t.state == "complete"]
    assert chosen
    assert len(gone_on) == 2 * len(chosen)
    assert max(trial.score or 0 for trial in pruned) == max(trial.score or 0 for trial in chosen)


def test_a_score_is_that_of_fits_in_one_go_on_all_inner_folds(make: Make, climbs: Climbs) -> None:
    climbs.fit = fit_and_predict
    study = make()
    trials = study(ignore)
    last = next(trial for trial in reversed(trials) if trial.state == "complete")
    proposed = {name.removeprefix("tiny_net."): value for name, value in last.configuration.items()}
    assert any(unit.checkpoint and unit.proposed == proposed for unit in climbs.units)
    scores = []
    for unit, targets in zip(study.request.fits.units, study.request.targets, strict=True):
        result, _ = fit_and_predict(replace(unit, proposed=proposed))
        scores.append(np.mean(np.argmax(result.probabilities, axis=1) == targets))
    assert last.score == pytest.approx(np.mean(scores), abs=1e-12)


def test_only_active_parameters_that_are_not_set_by_hand_are_proposed(make: Make, climbs: Climbs) -> None:
    trials = make(trials=6, by_hand={"rate": 0.5})(ignore)
    names = [set(trial.configuration) for trial in trials]
    assert all("tiny_net.rate" not in n and "tiny_net.batch_size" not in n for n in names)
    assert not any("tuner/" in name for n in names for name in n)
    assert all(("tiny_net.decay" in t.configuration) == t.configuration["tiny_net.decays"] for t in trials)
    assert any(trial.configuration["tiny_net.decays"] for trial in trials)
    assert {unit.hyperparameters["rate"] for unit in climbs.units} == {0.5}


@pytest.mark.usefixtures("climbs")
def test_the_seed_decides_the_trials(make: Make) -> None:
    first, again, other = (
        changed(make(trials=4, seed=seed), workers_see_folder=False)(ignore) for seed in (0, 0, 1)
    )
    assert timeless(first) == timeless(again)
    assert [t.configuration for t in first[1:]] != [t.configuration for t in other[1:]]


@pytest.mark.parametrize("at", [1, 5, 12])
def test_an_interrupted_study_goes_on_as_if_it_had_never_stopped(
    make: Make, climbs: Climbs, tmp_path: Path, at: int
) -> None:
    undisturbed = changed(make(), workers_see_folder=False)(ignore)
    whole, climbs.units, climbs.interrupted = len(climbs.units), [], at
    study = make()
    with pytest.raises(KeyboardInterrupt):
        study(ignore)
    again = study(ignore)
    kept = StudyFolder(tmp_path / "study").study(0)
    assert kept is not None
    assert tuple(kept.trials) == again
    assert timeless(again) == timeless(undisturbed)
    assert len(climbs.units) == whole + 1  # the fit that was interrupted


@pytest.mark.usefixtures("climbs")
def test_trials_too_few_for_any_to_go_on_are_all_trained_to_the_end(make: Make) -> None:
    assert [trial.state for trial in make(trials=7)(ignore)] == ["complete"] * 7


def test_a_finished_study_is_read_and_more_trials_go_on(make: Make, climbs: Climbs) -> None:
    first = make(trials=4)(ignore)
    count = len(climbs.units)
    assert make(trials=4)(ignore) == first
    assert len(climbs.units) == count
    more = make(trials=6)(ignore)
    assert more[:4] == first
    assert len(more) == 6
    assert len(climbs.units) == count + 4


@pytest.mark.parametrize("changes", [{"seed": 1}, {"by_hand": {"rate": 0.2}}, {"highest": 0.5}])
def test_a_folder_of_another_study_is_begun_anew(make: Make, climbs: Climbs, changes: dict[str, Any]) -> None:
    make(trials=2)(ignore)
    count = len(climbs.units)
    make(trials=2, **changes)(ignore)
    assert len(climbs.units) == 2 * count


def test_a_damaged_fit_is_made_again(make: Make, climbs: Climbs, tmp_path: Path) -> None:
    first = make(trials=3)(ignore)
    count = len(climbs.units)
    next((tmp_path / "study" / "fold-0").glob("*.json")).write_text("{")
    assert timeless(make(trials=3)(ignore)) == timeless(first)
    assert len(climbs.units) == count + 1


@pytest.mark.parametrize("damage", [lambda _: b"", lambda data: data[:-1], lambda data: data[:-1] + b"?"])
def test_without_an_intact_checkpoint_a_fit_starts_over(
    make: Make, climbs: Climbs, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    undisturbed = make()(ignore)
    write = StudyFolder.write_checkpoint

    def write_damaged(folder: StudyFolder, fold: int, name: str, data: bytes) -> None:
        write(folder, fold, name, data)
        for path in folder.path.rglob("*.checkpoint"):
            path.write_bytes(damage(path.read_bytes()))

    monkeypatch.setattr(StudyFolder, "write_checkpoint", write_damaged)
    assert any(unit.checkpoint is not None for unit in climbs.units)
    climbs.units.clear()
    again = make(seed=1)(ignore)
    assert not [trial for trial in (*undisturbed, *again) if trial.state == "failed"]
    assert {unit.checkpoint for unit in climbs.units} == {None}
    assert len({unit.until for unit in climbs.units}) > 1


def test_trials_that_fail_do_so_alone(make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trials = make(highest=1e30, raises=True)(ignore)
    assert capfd.readouterr() == ("", "")
    failed = {trial.reason for trial in trials if trial.state == "failed"}
    assert "RuntimeError: no luck today" in failed
    assert any("lower the learning rate" in (reason or "") for reason in failed)
    assert all(trial.score is None and not trial.steps for trial in trials if trial.state == "failed")
    assert any(trial.state == "pruned" for trial in trials)
    for trial in trials:
        theirs = json.loads(
            (tmp_path / f"study/fold-0/keras_tuner/trial_{trial.number:04}/trial.json").read_text()
        )
        assert theirs["status"] == ("FAILED" if trial.state == "failed" else "COMPLETED")
        assert theirs["score"] == trial.score


def test_any_number_of_failures_in_a_row_ends_nothing(make: Make, climbs: Climbs) -> None:
    def leave(_unit: Unit) -> Any:
        raise SystemExit(3)

    climbs.fit = leave
    assert [trial.reason for trial in make(trials=6)(ignore)] == ["SystemExit: 3"] * 6


@pytest.mark.parametrize("by_hand", [{"rat": 0.1}, {"rate": "fast"}])
def test_a_wrong_value_set_by_hand_ends_the_study(make: Make, by_hand: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="rat"):
        make(by_hand=by_hand)(ignore)


def test_after_the_deadline_only_what_is_on_file_is_given(make: Make, climbs: Climbs) -> None:
    study, climbs.interrupted = make(), 7
    with pytest.raises(KeyboardInterrupt):
        study(ignore)
    kept = study.request.fits.folder.study(0)
    assert kept is not None
    assert len(kept.trials) == 3
    late = changed(study, deadline=time.time() - 1)
    assert late(ignore) == tuple(kept.trials)
    assert len(climbs.units) == 7


def test_without_new_configurations_those_that_stopped_go_on(make: Make, climbs: Climbs) -> None:
    study = make(trials=99, by_hand={"rate": 0.5})
    trials = changed(study, pinned=frozenset({"batch_size", "augment", "decays"}))(ignore)
    assert [trial.configuration["tiny_net.class_weights"] for trial in trials] == [False, True, True]
    assert [trial.state for trial in trials] == ["complete", "pruned", "complete"]
    assert len(climbs.units) == 6


ODD = """
from marsbench.plugin import Model
class Odd(Model):
    "Declares what KerasTuner is not prepared for."
    accepts = "vector"
    def declare(self, hp, input_shape, n_classes):
        kind = hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["a"]):
            hp.Int("size", 1, 8)
        with hp.conditional_scope("kind", ["c"]):
            hp.Int("never", 1, 8)
        with hp.conditional_scope("kind", ["b"]):
            hp.Int("size", 11, 18)
            hp.Int("fixed", 1, 8)
        if kind == "b":
            hp.Int("late", 1, 8)
"""


def test_odd_spaces_are_searched(make: Make, climbs: Climbs, tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "models" / "odd.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(ODD)
    study = make(trials=30, folder=tmp_path / "plugins", model="odd")
    trials = changed(study, pinned=frozenset({"fixed"}))(ignore)
    assert len(trials) == 30
    assert not [trial for trial in trials if trial.state == "failed"]
    found = [{name.removeprefix("odd."): v for name, v in trial.configuration.items()} for trial in trials]
    assert all(
        values["size"] in (range(1, 9) if values["kind"] == "a" else range(11, 19)) for values in found
    )
    assert {name for values in found for name in values} == {"kind", "size", "late"}
    fits = [str((unit.fold, unit.test, unit.proposed, unit.until)) for unit in climbs.units]
    assert len(fits) == len(set(fits))
