import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from marsbench.config import Experiment
from marsbench.data.audio import decode, read_bytes, resample
from marsbench.errors import ConfigError
from marsbench.planning.plans import Plan, make_plans
from marsbench.progress import Silent
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_runs
from marsbench.results.studies import Study, StudyFolder
from marsbench.runner.runner import run

Tune = Callable[..., tuple[RunFolder, Run]]
Fits = Callable[[], list[dict[str, Any]]]
LOG = {"log": "fits.log"}


def studies(folder: RunFolder) -> list[Study]:
    return list(folder.study.studies())


def test_tuning_finds_what_is_better_and_says_what_it_gained(tuned: Tune) -> None:
    folder, done = tuned()
    assert done.metrics is not None
    assert done.tuning is not None
    untuned = next(other.read_run() for other in find_runs(Path("results")) if other.path != folder.path)
    assert untuned.tuning is None
    assert untuned.metrics is not None
    assert done.metrics["macro_f1"].value > untuned.metrics["macro_f1"].value + 0.2
    assert [fold.complete + fold.pruned + fold.failed for fold in done.tuning.folds] == [12] * 5


def test_trial_0_is_the_untuned_configuration_on_all_inner_folds(tuned: Tune) -> None:
    for study in studies(tuned()[0]):
        assert study.trials[0].configuration == {"knobs.x": 0.8, "knobs.kind": "plain"}
        assert study.trials[0].state == "complete"


def test_a_condition_holds_in_every_trial(tuned: Tune) -> None:
    trials = [trial for study in studies(tuned()[0]) for trial in study.trials]
    for trial in trials:
        assert ("knobs.depth" in trial.configuration) == (trial.configuration["knobs.kind"] == "deep")
    assert {trial.configuration["knobs.kind"] for trial in trials} == {"plain", "deep"}


def test_only_trials_with_all_inner_folds_compete(tuned: Tune) -> None:
    for study in studies(tuned(trials=20, protocol="holdout80")[0]):
        assert study.best is not None
        complete = [trial for trial in study.trials if trial.state == "complete"]
        assert all(len(trial.steps) == 3 for trial in complete)
        assert study.best.score == max(trial.score or 0 for trial in complete)
        assert any(trial.state == "pruned" for trial in study.trials)


def test_a_trial_that_diverges_fails_alone_with_its_reason(tuned: Tune) -> None:
    folder, done = tuned(trials=30, protocol="holdout80")
    failed = [trial for study in studies(folder) for trial in study.trials if trial.state == "failed"]
    assert failed
    assert all("diverges" in (trial.reason or "") and trial.score is None for trial in failed)
    assert done.status == "complete"


def test_where_every_trial_fails_the_untuned_configuration_is_tried_and_its_reason_told(tuned: Tune) -> None:
    _, done = tuned(knobs={"x": 0.95})
    assert done.status == "failed"
    assert "diverges" in done.failures[0].message


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(tuned: Tune) -> None:
    first, again, other = (
        tuned(results=results, seed=seed, protocol="holdout80")[0]
        for results, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    chosen = [
        [[t.configuration for t in study.trials] for study in studies(f)] for f in (first, again, other)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert first.predictions.read_bytes() == again.predictions.read_bytes()


def test_a_configuration_is_not_trained_twice(tuned: Tune, fits: Fits) -> None:
    folder, _ = tuned(knobs=LOG | {"x": 0.5}, trials=40)  # kind and depth alone: five configurations
    for study in studies(folder):
        assert study.ended == "search space exhausted"
        repeated = [trial for trial in study.trials if trial.same_as is not None]
        assert repeated
        for trial in repeated:
            assert trial.score == study.trials[trial.same_as or 0].score
    outer, inner = 5 + 5, 5 * 5 * 3
    assert len(fits()) <= outer + inner


def test_what_is_set_by_hand_is_not_tuned(tuned: Tune) -> None:
    folder, _ = tuned(knobs={"kind": "deep"}, features="planted", set={"planted.scale": 3.0})
    for study in studies(folder):
        assert all(trial.configuration.keys() == {"knobs.x", "knobs.depth"} for trial in study.trials)


def test_parameters_of_the_features_are_tuned_like_those_of_the_model(tuned: Tune) -> None:
    folder, done = tuned(features="planted", trials=15)
    scales = {t.configuration["planted.scale"] for study in studies(folder) for t in study.trials}
    assert scales == {1.0, 2.0}
    assert done.status == "complete"


def test_fits_inside_are_drafts_and_those_that_count_are_not(tuned: Tune, fits: Fits) -> None:
    tuned(knobs=LOG, trials=3)
    assert {fit["clips"] for fit in fits() if not fit["draft"]} == {24}
    assert {fit["clips"] for fit in fits() if fit["draft"]} == {16}


def test_a_trial_climbs_rungs_of_epochs_and_the_best_third_goes_on(tuned: Tune, fits: Fits) -> None:
    folder, _ = tuned(knobs=LOG | {"epochs": 8}, protocol="holdout80", trials=15, inner_folds=3)
    climbs = {(fit["from"], fit["to"]) for fit in fits() if fit["draft"]}
    assert climbs == {(0, 1), (1, 4), (4, 8), (0, 8)}
    reached = [
        sum(fit["from"] == start and fit["to"] == end for fit in fits())
        for start, end in ((0, 1), (1, 4), (4, 8))
    ]
    assert reached[0] > reached[1] >= reached[2] > 0
    assert not list(folder.study.path.glob("fold-*/*.checkpoint"))


def test_damaged_checkpoints_change_nothing(tuned: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"knobs": {"epochs": 8}, "protocol": "holdout80", "trials": 15}
    first = trials_of(tuned(**asked, results="a")[0])
    write = StudyFolder.write_checkpoint

    def write_truncated(folder: StudyFolder, fold: int, name: str, data: bytes) -> None:
        write(folder, fold, name, data)
        for path in folder.path.rglob("*.checkpoint"):
            path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(StudyFolder, "write_checkpoint", write_truncated)
    assert trials_of(tuned(**asked, results="b")[0]) == first


def trials_of(folder: RunFolder) -> list[Any]:
    """Trials without their times."""
    trials = [trial for study in studies(folder) for trial in study.trials]
    return [trial.model_dump(exclude={"seconds", "finished"}) for trial in trials]


def test_inner_folds_share_no_speaker_where_the_protocol_is_by_speaker(kit: Path) -> None:
    from marsbench.protocols.inner_splits import inner_folds

    plan = plan_of(kit, protocol="speaker5")
    for fold in plan.protocol.folds:
        inside = inner_folds(plan.corpus, fold.train, ("speaker",), 3, 0)
        for inner in inside:
            speakers = [
                {plan.corpus.clips[row].speaker for row in rows} for rows in (inner.train, inner.test)
            ]
            assert not speakers[0] & speakers[1]
            assert set(inner.train) | set(inner.test) == set(fold.train)


def plan_of(kit: Path, **changes: Any) -> Plan:
    values = {"features": "crossings", "model": "knobs", "data": "tones", "plugins": [kit]} | changes
    return make_plans(Experiment.model_validate(values), Silent())[0]


def answers(plan: Plan, rows: list[int]) -> dict[str, int]:
    """What `planted` needs to tell the class of some clips."""
    found = {}
    for row in rows:
        waveform = resample(decode(read_bytes(plan.corpus.clips[row].path)), 22_050).samples
        found[hashlib.sha256(waveform.tobytes()).hexdigest()[:16]] = int(plan.corpus.targets[row])
    return found


@pytest.mark.parametrize("part", ["test", "train"])
def test_an_answer_that_is_planted_in_the_test_part_cannot_be_found_by_tuning(
    tuned: Tune, kit: Path, part: str
) -> None:
    plan = plan_of(kit, protocol="holdout80")
    (fold,) = plan.protocol.folds
    planted = answers(plan, getattr(fold, part).tolist())
    folder, _ = tuned(
        features="planted",
        protocol="holdout80",
        set={"planted.answers": planted},
        knobs={"believes": True, "x": 0.55},
        trials=10,
    )
    (study,) = studies(folder)
    assert study.best is not None
    # In the training part it is found: so it would be found in the test part, if that were seen.
    assert study.best.configuration["knobs.column"] == (part == "train")


def test_the_studies_are_an_optuna_storage(tuned: Tune) -> None:
    folder, _ = tuned()
    storage = JournalStorage(JournalFileBackend(str(folder.study.journal)))
    assert sorted(study.study_name for study in storage.get_all_studies()) == [
        f"fold-{n}" for n in range(1, 6)
    ]
    for study in studies(folder):
        theirs = optuna.load_study(study_name=f"fold-{study.fold + 1}", storage=storage)
        assert study.best is not None
        assert theirs.best_value == study.best.score
        assert len(theirs.trials) == len(study.trials)
        assert theirs.best_params["knobs.x"] == study.best.configuration["knobs.x"]
        assert theirs.metric_names == ["macro F1"]
        assert theirs.user_attrs["run"] == folder.path.name
        assert theirs.user_attrs["pipeline"] == "crossings + knobs"


def test_the_optuna_storage_is_whole_though_one_fold_alone_is_made_again(tuned: Tune) -> None:
    folder, _ = tuned(trials=3)
    (folder.path / "run.json").unlink()
    (folder.path / "units" / "fold-3.json").unlink()
    tuned(trials=3)
    storage = JournalStorage(JournalFileBackend(str(folder.study.journal)))
    names = [study.study_name for study in storage.get_all_studies()]
    counts = [len(optuna.load_study(study_name=name, storage=storage).trials) for name in names]
    assert counts == [3] * 5


def test_a_lock_that_a_killed_command_left_behind_is_no_obstacle(tuned: Tune) -> None:
    folder, _ = tuned(trials=2)
    (folder.path / "run.json").unlink()
    (folder.path / "units" / "fold-0.json").unlink()
    folder.study.journal.with_name("optuna.log.lock").symlink_to(folder.study.journal)
    assert tuned(trials=2)[1].status == "complete"


def test_the_history_is_drawn(tuned: Tune) -> None:
    assert tuned()[0].study.history_plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("lost", ["study", "optuna.log", "fold-2.json", "fold-1"])
def test_what_is_lost_of_a_study_is_made_again_equally(tuned: Tune, lost: str) -> None:
    folder, first = tuned()
    before = [(study.best, [t.configuration for t in study.trials]) for study in studies(folder)]
    (folder.path / "run.json").unlink()
    shutil.rmtree(folder.path / "units")
    place = folder.study.path if lost == "study" else folder.study.path / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    folder, again = tuned()
    assert again.metrics == first.metrics
    for (best, configurations), study in zip(before, studies(folder), strict=True):
        assert [t.configuration for t in study.trials] == configurations
        assert (study.best and study.best.number) == (best and best.number)


def test_more_trials_go_on_from_fewer(tuned: Tune, fits: Fits) -> None:
    few, _ = tuned(knobs=LOG, trials=6)
    n_few = len(fits())
    more, _ = tuned(knobs=LOG, trials=9)
    assert few.path != more.path
    for fewer, all_of_them in zip(studies(few), studies(more), strict=True):
        assert [t.configuration for t in all_of_them.trials[:6]] == [t.configuration for t in fewer.trials]
    assert len(fits()) - n_few <= 5 * (3 * 3 + 1)


def test_another_objective_or_space_is_another_study(tuned: Tune) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"objective": "accuracy"},
        {"inner_folds": 2},
        {"knobs": {"widest": 0.7}},
    ]
    folders = {tuned(trials=2, protocol="holdout80", **change)[0].path for change in changes}
    assert len(folders) == 4


def test_a_single_hold_out_can_stand_for_the_inner_folds(tuned: Tune) -> None:
    for study in studies(tuned(inner_folds=1, trials=4)[0]):
        assert study.inner_folds == 1


def test_a_model_without_anything_to_tune_has_one_run(kit: Path) -> None:
    values = {
        "features": "crossings",
        "model": "nearest_mean",
        "data": "tones",
        "plugins": [kit],
        "trials": 9,
    }
    assert len(run(Experiment.model_validate(values))) == 1


def test_keras_tuner_is_refused_for_other_models_before_anything_is_done(tuned: Tune) -> None:
    with pytest.raises(ConfigError, match=r"keras-tuner tunes Keras models, and knobs is not one"):
        tuned(tuner="keras-tuner")
    assert not list(find_runs(Path("results")))


def test_a_time_budget_cuts_trials_and_never_folds(tuned: Tune) -> None:
    folder, done = tuned(knobs={"seconds": 0.05}, trials=None, time_budget=4.0)
    assert done.status == "complete"
    for study in studies(folder):
        assert study.ended == "time budget"
        assert 1 <= len(study.trials) < 100
    _, again = tuned(knobs={"seconds": 0.05}, trials=None, time_budget=4.0)
    assert again == done
